"""Honest numbers: intervals over images and paired tests."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.stats import binomtest

from search.objectives import OverSets

RESAMPLES = 2000
DRAWS_AT_ONCE = 1_000_000
Outcomes = Sequence[NDArray[np.float64]]
"""Per-image outcomes in [0, 1] (1: right), one array of shape (images,) for each set."""


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same images: difference of their scores, its 95 % interval, exact McNemar p-value."""

    difference: float
    interval: tuple[float, float]
    p_value: float


def bootstrap_interval(outcomes: Outcomes, over_sets: OverSets = "mean", seed: int = 0) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the objective, by resampling images within each set.

    Raises ValueError when a set has no images.
    """
    low, high = np.quantile(_resampled(outcomes, over_sets, seed), [0.025, 0.975])
    return float(low), float(high)


def compare(ours: Outcomes, theirs: Outcomes, over_sets: OverSets = "mean", seed: int = 0) -> PairedComparison:
    """Compare two models image by image; both see the same resamples.

    The p-value is the exact two-sided McNemar test over all images together (McNemar 1947): among the images on which
    just one of the two is right, how unlikely is this split for a fair coin.
    """
    differences = _resampled(ours, over_sets, seed) - _resampled(theirs, over_sets, seed)
    low, high = np.quantile(differences, [0.025, 0.975])
    point = _objective(ours, over_sets) - _objective(theirs, over_sets)
    return PairedComparison(float(point), (float(low), float(high)), _mcnemar(ours, theirs))


def _mcnemar(ours: Outcomes, theirs: Outcomes) -> float:
    mine, yours = np.concatenate(list(ours)) > 0.5, np.concatenate(list(theirs)) > 0.5
    wins, losses = int((mine & ~yours).sum()), int((yours & ~mine).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _objective(outcomes: Outcomes, over_sets: OverSets) -> float:
    means = [float(np.mean(outcome)) for outcome in outcomes]
    return min(means) if over_sets == "worst" else sum(means) / len(means)


def _resampled(outcomes: Outcomes, over_sets: OverSets, seed: int) -> NDArray[np.float64]:
    if not outcomes or any(len(outcome) == 0 for outcome in outcomes):
        raise ValueError("an interval needs at least one image in each set")
    rng = np.random.default_rng(seed)
    means = np.stack([_resampled_means(outcome, rng) for outcome in outcomes])
    return np.asarray(means.min(axis=0) if over_sets == "worst" else means.mean(axis=0))


def _resampled_means(outcome: NDArray[np.float64], rng: np.random.Generator) -> NDArray[np.float64]:
    count = len(outcome)
    rows = max(1, min(RESAMPLES, DRAWS_AT_ONCE // count))
    sizes = [min(rows, RESAMPLES - start) for start in range(0, RESAMPLES, rows)]
    return np.concatenate([outcome[rng.integers(0, count, (size, count))].mean(axis=1) for size in sizes])
