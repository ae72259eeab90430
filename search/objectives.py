"""One number from what is known of a model on several sets, image by image."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

OverSets = Literal["mean", "worst"]
OverThreats = Literal["union", "mean", "worst"]
Flags = NDArray[np.bool_]
T = TypeVar("T")


@dataclass(frozen=True)
class Measure:
    """Accuracy or, with ``threats`` (indices of threat models), accuracy under attack.

    ``union`` counts an image when it stays right in every one of the threats: decided for each image, so at most the
    least of their accuracies. ``mean`` and ``worst`` are over the accuracies in the threats. Several sets are combined
    by ``over_sets`` at last: all of them, or those whose indices ``sets`` holds.
    """

    threats: tuple[int, ...] = ()
    over_threats: OverThreats = "union"
    over_sets: OverSets = "mean"
    sets: tuple[int, ...] | None = None

    def of_sets(self, each: Sequence[T]) -> list[T]:
        """Of something for each of all sets, that for those that count."""
        return list(each) if self.sets is None else [each[index] for index in self.sets]

    def outcomes(self, correct: Flags, robust: Flags | None) -> Flags:
        """What counts on one set, bool of shape (rows, images): one row, or one a threat for ``mean`` and ``worst``.

        ``correct`` (images,) are right before any attack, ``robust`` (all threats, images) after each.
        Raises ValueError without ``robust`` when there are threats.
        """
        return self._rows(robust) if self.threats else correct[None]

    def counts(self, correct: int, robust: Flags | None) -> list[int]:
        """The sums of the rows of ``outcomes``, for ``correct`` images that are right before any attack."""
        return [int(count) for count in self._rows(robust).sum(axis=1)] if self.threats else [correct]

    def value(self, counts: Sequence[Sequence[int]], images: Sequence[int]) -> float:
        """The measure from the ``counts`` and number of images of each set that counts (``of_sets``).

        Equal counts give equal values, bit for bit.
        """
        pairs = zip(counts, images, strict=True)
        return combine([self._on_set(each, total) for each, total in pairs], self.over_sets)

    def _rows(self, robust: Flags | None) -> Flags:
        if robust is None:
            raise ValueError("robust accuracy needs the outcome of the attacks")
        chosen = robust[list(self.threats)]
        return np.logical_and.reduce(chosen)[None] if self.over_threats == "union" else chosen

    def _on_set(self, counts: Sequence[int], images: int) -> float:
        return min(counts) / images if self.over_threats == "worst" else sum(counts) / (len(counts) * images)


def combine(scores: Sequence[float], over_sets: OverSets = "mean") -> float:
    """The mean over sets (Croce et al., CVPR 2023, Table 1: the single soup) or the worst set's score.

    Each set counts alike, whatever its number of images. Raises ValueError when there are no scores.
    """
    if not scores:
        raise ValueError("an objective needs the score of at least one set")
    return min(scores) if over_sets == "worst" else sum(scores) / len(scores)


def combine_losses(losses: Sequence[float], over_sets: OverSets = "mean") -> float:
    """As ``combine``, for values of which less is better: the worst is the greatest."""
    return -combine([-loss for loss in losses], over_sets)


def violation(values: Sequence[float], least: Sequence[float]) -> float:
    """By how much ``values`` fall short of ``least``, summed and rounded to 1e-9; 0 when all constraints hold."""
    return round(sum(max(0.0, bound - value) for value, bound in zip(values, least, strict=True)), 9)
