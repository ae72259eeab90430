"""The last layer and the temperature, fitted to labels."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor

from search.evaluation import REFINEMENT_FOLDS, Refinement
from workers.refinement.folds import folds_of
from workers.refinement.head import STRENGTHS, HeadRegression
from workers.refinement.labels import PooledLabels
from workers.refinement.reading import SoupReading
from workers.refinement.temperature import fit_temperature


@dataclass(frozen=True)
class LayerChange:
    """The new last layer: (weight + ``weight``) / ``temperature``, (bias + ``bias``) / ``temperature``.

    ``weight`` is float64 (classes, d) and ``bias`` (classes,), None for a layer that is kept.
    """

    weight: Tensor | None = None
    bias: Tensor | None = None
    temperature: float | None = None

    def logits(self, reading: SoupReading) -> Tensor:
        """Logits after the change, float64 (N, classes), of the images of ``reading``."""
        logits = reading.logits.double()
        if self.weight is not None and self.bias is not None and reading.features is not None:
            logits = logits + reading.features.double() @ self.weight.t() + self.bias
        return logits / (self.temperature or 1.0)


class LabelFit:
    """What ``refinement`` learns from ``labels``, given the soup's ``reading`` of N images, with a label or without.

    ``strength`` of the ridge is the given one, or that of ``STRENGTHS`` with the least cross-validated NLL over all
    labelled images, the stronger of equals: the same folds choose among six strengths and judge the chosen one. It is
    None for a head that is kept.

    Raises ValueError when the images are too few, or the labels are not of the model's classes.
    """

    def __init__(
        self, reading: SoupReading, labels: PooledLabels, refinement: Refinement, strength: float | None = None
    ) -> None:
        self._labels = labels
        self._all = reading
        self._with_temperature = refinement.temperature
        self._folds = folds_of(labels.first).to(reading.logits.device)
        reading = reading.of_images(labels.rows)
        self._head: _KeptHead | _RefitHead = _KeptHead(reading.logits.double())
        if refinement.head == "refit":
            strengths = STRENGTHS if strength is None else (strength,)
            self._head = _RefitHead(reading, labels, self._folds, strengths)
        self.strength = self._head.strength

    def crossed_logits(self) -> Tensor:
        """Each image's logits after a refinement that was fitted to the other folds, float64 (N, classes).

        No label of an image's fold is behind its logits, but for the choice of the strength. Its temperature is fitted
        to logits of the other folds' images after heads that saw neither their fold nor this one. An image without a
        label is read after the refinement that was fitted to all labels.
        """
        crossed = self._crossed()
        if len(crossed) == len(self._all.logits):
            return crossed
        logits = self.change().logits(self._all)
        logits[self._labels.rows] = crossed
        return logits

    def _crossed(self) -> Tensor:
        """The labelled images' logits."""
        if not self._with_temperature:
            return self._head.crossed
        logits = self._head.crossed.clone()
        for fold, others in enumerate(self._head.without_two()):
            kept = self._folds != fold
            logits[~kept] /= self._temperature(others, kept)
        return logits

    def change(self) -> LayerChange:
        """The refinement fitted to all images; its temperature to logits after heads that did not see the image."""
        everything = torch.ones_like(self._folds, dtype=torch.bool)
        temperature = self._temperature(self._head.crossed, everything) if self._with_temperature else None
        weight, bias = self._head.change()
        return LayerChange(weight, bias, temperature)

    def _temperature(self, logits: Tensor, images: Tensor) -> float:
        return fit_temperature(lambda temperature: float(self._labels.nll(logits / temperature)[images].mean()))


class _KeptHead:
    strength = None

    def __init__(self, logits: Tensor) -> None:
        self.crossed = logits

    def without_two(self) -> list[Tensor]:
        return [self.crossed] * REFINEMENT_FOLDS

    def change(self) -> tuple[None, None]:
        return None, None


class _RefitHead:
    def __init__(self, reading: SoupReading, labels: PooledLabels, folds: Tensor, strengths: Sequence[float]) -> None:
        if reading.features is None:
            raise ValueError("a last layer is refitted to its inputs: read them")
        self._regression = HeadRegression(reading.features, reading.logits, labels.accepted)
        self._folds = folds
        self._images = torch.arange(len(folds), device=folds.device)
        training = folds[:, None] != torch.arange(REFINEMENT_FOLDS, device=folds.device)
        crossed = {
            strength: self._regression.logits(changes)[self._images, folds]
            for strength, changes in self._regression.path(training, strengths)
        }
        self.strength = min(crossed, key=lambda strength: float(labels.nll(crossed[strength]).mean()))
        self.crossed = crossed[self.strength]

    def without_two(self) -> list[Tensor]:
        """For each fold, all images' logits after heads that saw neither this fold nor the image's own.

        Those of the fold itself mean nothing.
        """
        pairs = list(combinations(range(REFINEMENT_FOLDS), 2))
        training = (self._folds[:, None, None] != torch.tensor(pairs, device=self._folds.device)).all(dim=2)
        logits = self._regression.logits(self._fitted(training))
        heads = torch.zeros(REFINEMENT_FOLDS, REFINEMENT_FOLDS, dtype=torch.int64, device=self._folds.device)
        for head, (one, other) in enumerate(pairs):
            heads[one, other] = heads[other, one] = head
        return [logits[self._images, heads[fold, self._folds]] for fold in range(REFINEMENT_FOLDS)]

    def change(self) -> tuple[Tensor, Tensor]:
        weights, biases = self._regression.layer(self._fitted(torch.ones_like(self._folds)[:, None]))
        return weights[0], biases[0]

    def _fitted(self, training: Tensor) -> Tensor:
        [(_, changes)] = self._regression.path(training, [self.strength])
        return changes
