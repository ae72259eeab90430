"""Labelled images on a device, batch by batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import overload

import numpy as np
import torch
from torch import Tensor

from search.evaluation import Visit
from search.folds import stratified_folds
from workers.evaluation.labels import ImageOutcomes, LabelSpace
from workers.evaluation.preprocess import DataConfig, Normaliser
from workers.evaluation.sets import EncodedSet


@dataclass(frozen=True)
class Batch:
    """Images of the set ``set_index``, of which ``rows``, int64 (N,), are the places in the set.

    ``images`` is uint8 (N, C, H, W), ``accepted`` bool (N, columns), None for a set without labels.
    """

    set_index: int
    rows: Tensor
    images: Tensor
    accepted: Tensor | None
    space: LabelSpace

    def outcomes(self, logits: Tensor) -> ImageOutcomes:
        """Read the logits, float32 (N, classes), of this batch."""
        return self.space.outcomes(logits, self.accepted)

    def cut(self, size: int) -> "Iterator[Batch]":
        """Two, four, six ... equal parts of at most ``size`` images; the batch itself when it is not larger."""
        parts = 2 * -(-len(self.images) // (2 * size)) if len(self.images) > size else 1
        for places in torch.arange(len(self.images)).tensor_split(parts):
            yield self.of(slice(int(places[0]), int(places[-1]) + 1))

    def of(self, places: slice | Tensor) -> "Batch":
        """Some of the images; a slice is not copied."""
        accepted = None if self.accepted is None else self.accepted[places]
        rows = self.rows[places if isinstance(places, slice) else places.cpu()]
        return replace(self, rows=rows, images=self.images[places], accepted=accepted)


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
        self._whole = [_resident(index, source, device) for index, source in enumerate(sets)]
        self.batches = [
            whole.of(slice(first, first + batch_size))
            for whole in self._whole
            for first in range(0, len(whole.images), batch_size)
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

    def visited(self, visit: Visit) -> "VisitedBatches":
        """A batch for each step of ``visit``. Raises ValueError unless it holds every image once."""
        if any(
            sorted(rows.tolist()) != list(range(size))
            for rows, size in zip(visit.rows(len(self.sizes)), self.sizes, strict=True)
        ):
            raise ValueError("a visit holds every image of every set once")
        return VisitedBatches(self._whole, visit)

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


class VisitedBatches(Sequence[Batch]):
    """A batch for each step of a visit, whose images are gathered when the batch is read."""

    def __init__(self, whole: Sequence[Batch], visit: Visit) -> None:
        self._whole = whole
        self._steps = [(index, torch.tensor(rows)) for index, rows in visit.steps]

    def __len__(self) -> int:
        return len(self._steps)

    @overload
    def __getitem__(self, place: int) -> Batch: ...
    @overload
    def __getitem__(self, place: slice) -> list[Batch]: ...
    def __getitem__(self, place: int | slice) -> Batch | list[Batch]:
        if isinstance(place, slice):
            return [self[index] for index in range(len(self))[place]]
        index, rows = self._steps[place]
        whole = self._whole[index]
        return whole.of(rows.to(whole.images.device))


def _check(source: EncodedSet, config: DataConfig, num_classes: int) -> None:
    if source.images.shape[1:] != config.input_size:
        message = f"images are {source.images.shape[1:]}, the model takes {config.input_size}"
        raise ValueError(f"{message}: encode them with this model's data configuration")
    if source.space.num_classes != num_classes:
        raise ValueError(f"the labels are of {source.space.num_classes} classes, the model has {num_classes}")


def _resident(index: int, source: EncodedSet, device: torch.device) -> Batch:
    images = torch.from_numpy(np.require(source.images, requirements=["C", "W"])).to(device)
    mask = None if source.accepted is None else source.space.mask(source.accepted).to(device)
    return Batch(index, torch.arange(len(images)), images, mask, source.space)
