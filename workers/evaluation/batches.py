"""Labelled images on a device, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from search.folds import stratified_folds
from workers.evaluation.labels import ImageOutcomes, LabelSpace
from workers.evaluation.preprocess import DataConfig, Normaliser
from workers.evaluation.sets import EncodedSet


@dataclass(frozen=True)
class Batch:
    """Images of the set ``set_index`` from its image ``first`` on.

    ``images`` is uint8 (N, C, H, W), ``accepted`` bool (N, columns), None for a set without labels.
    """

    set_index: int
    first: int
    images: Tensor
    accepted: Tensor | None
    space: LabelSpace

    def outcomes(self, logits: Tensor) -> ImageOutcomes:
        """Read the logits, float32 (N, classes), of this batch."""
        return self.space.outcomes(logits, self.accepted)

    def cut(self, size: int) -> "Iterator[Batch]":
        """Two, four, six ... equal parts of at most ``size`` images; the batch itself when it is not larger."""
        parts = 2 * -(-len(self.images) // (2 * size)) if len(self.images) > size else 1
        first = self.first
        for rows in torch.arange(len(self.images)).tensor_split(parts):
            chosen = slice(int(rows[0]), int(rows[-1]) + 1)
            accepted = None if self.accepted is None else self.accepted[chosen]
            yield replace(self, first=first + chosen.start, images=self.images[chosen], accepted=accepted)


class ResidentImages:
    """The images of ``sets`` on ``device`` as uint8, in order, in batches of ``batch_size`` that never span two sets.

    Raises ValueError when a set's images have another size than the model's, or its labels other classes.
    """

    def __init__(
        self, sets: Sequence[EncodedSet], config: DataConfig, device: torch.device, *, num_classes: int, batch_size: int
    ) -> None:
        for source in sets:
            _check(source, config, num_classes)
        self.sizes = tuple(len(source) for source in sets)
        self.normalise = Normaliser(config, device)
        self.batches = [
            batch for index, source in enumerate(sets) for batch in _split(index, source, device, batch_size)
        ]

    def __iter__(self) -> Iterator[Batch]:
        return iter(self.batches)

    def __len__(self) -> int:
        return len(self.batches)

    def mixed(self, batch_size: int) -> Iterator[Tensor]:
        """All images, normalised, in the fewest batches of at most ``batch_size``: equal ones, but for an image.

        Each batch has its share of every set and, of a set with labels, of every class, in whatever order images are;
        of a set without, every k-th image.
        """
        images = torch.cat([batch.images for batch in self.batches])
        count = -(-len(images) // batch_size)
        folds = torch.from_numpy(stratified_folds(self._strata(), count)).to(images.device)
        for fold in range(count):
            yield self.normalise(images[folds == fold])

    def _strata(self) -> list[int]:
        """A number for each image that tells its set and the first column that it accepts, in their order."""
        columns = max(len(batch.space) for batch in self.batches)
        strata: list[int] = []
        for batch in self.batches:
            start = batch.set_index * columns
            accepted = batch.accepted
            first = [0] * len(batch.images) if accepted is None else accepted.to(torch.int64).argmax(dim=1).tolist()
            strata += [start + column for column in first]
        return strata

    def cut(self, batch_size: int) -> list[list[Batch]]:
        """Each batch in smaller ones, not copied, an even number of them when it was larger than this.

        Two streams that work on them end together.
        """
        return [list(batch.cut(batch_size)) for batch in self.batches]


def _check(source: EncodedSet, config: DataConfig, num_classes: int) -> None:
    if source.images.shape[1:] != config.input_size:
        message = f"images are {source.images.shape[1:]}, the model takes {config.input_size}"
        raise ValueError(f"{message}: encode them with this model's data configuration")
    if source.space.num_classes != num_classes:
        raise ValueError(f"the labels are of {source.space.num_classes} classes, the model has {num_classes}")


def _split(index: int, source: EncodedSet, device: torch.device, batch_size: int) -> Iterator[Batch]:
    images = torch.from_numpy(np.require(source.images, requirements=["C", "W"])).to(device)
    mask = None if source.accepted is None else source.space.mask(source.accepted).to(device)
    for first in range(0, len(images), batch_size):
        rows = slice(first, first + batch_size)
        yield Batch(index, first, images[rows], None if mask is None else mask[rows], source.space)
