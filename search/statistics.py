"""Honest numbers: intervals over images and paired tests."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

OverSets = Literal["mean", "worst"]
OverThreats = Literal["union", "mean", "worst"]
RESAMPLES = 2000
DRAWS_AT_ONCE = 1_000_000
Outcomes = Sequence[NDArray[Any]]
"""For each set a value of each image, bool where it is right or wrong: (images,) or (threats, images)."""


@dataclass(frozen=True)
class PairedComparison:
    """Two models on the same images: difference of their scores, its 95 % interval, exact McNemar p-value.

    ``p_value`` is None where an image is not just right or wrong: a likelihood, or several outcomes, one per threat.
    """

    difference: float
    interval: tuple[float, float]
    p_value: float | None


def bootstrap_interval(
    outcomes: Outcomes, over_sets: OverSets = "mean", seed: int = 0, *, over_threats: OverThreats = "union"
) -> tuple[float, float]:
    """95 % percentile bootstrap interval of the objective, by resampling images within each set.

    Raises ValueError when a set has no images.
    """
    low, high = np.quantile(_resampled(outcomes, over_sets, over_threats, seed), [0.025, 0.975])
    return float(low), float(high)


def compare(
    ours: Outcomes,
    theirs: Outcomes,
    over_sets: OverSets = "mean",
    seed: int = 0,
    *,
    over_threats: OverThreats = "union",
) -> PairedComparison:
    """Compare two models image by image; both see the same resamples.

    The p-value is that of the exact two-sided McNemar test over all images together (McNemar 1947): how unlikely a fair
    coin makes this split of the images on which exactly one of the two is right.
    """
    ours, theirs = _with_rows(ours), _with_rows(theirs)
    differences = _resampled(ours, over_sets, over_threats, seed) - _resampled(theirs, over_sets, over_threats, seed)
    low, high = np.quantile(differences, [0.025, 0.975])
    point = _objective(ours, over_sets, over_threats) - _objective(theirs, over_sets, over_threats)
    return PairedComparison(float(point), (float(low), float(high)), _mcnemar(ours, theirs))


def _mcnemar(ours: Outcomes, theirs: Outcomes) -> float | None:
    from scipy.stats import binomtest

    if any(len(rows) > 1 or not np.isin(rows, (0, 1)).all() for rows in (*ours, *theirs)):
        return None
    mine, yours = (np.concatenate([rows[0] for rows in each]) > 0.5 for each in (ours, theirs))
    wins, losses = int((mine & ~yours).sum()), int((yours & ~mine).sum())
    return float(binomtest(wins, wins + losses).pvalue) if wins + losses else 1.0


def _objective(outcomes: Outcomes, over_sets: OverSets, over_threats: OverThreats) -> float:
    means = [float(_over_threats(rows.mean(axis=1), over_threats)) for rows in outcomes]
    return min(means) if over_sets == "worst" else sum(means) / len(means)


def _resampled(outcomes: Outcomes, over_sets: OverSets, over_threats: OverThreats, seed: int) -> NDArray[np.float64]:
    if not outcomes or any(np.size(outcome) == 0 for outcome in outcomes):
        raise ValueError("an interval needs at least one image in each set")
    rng = np.random.default_rng(seed)
    means = np.stack([_over_threats(_resampled_means(rows, rng), over_threats) for rows in _with_rows(outcomes)])
    return np.asarray(means.min(axis=0) if over_sets == "worst" else means.mean(axis=0))


def _with_rows(outcomes: Outcomes) -> list[NDArray[Any]]:
    return [np.atleast_2d(outcome) for outcome in outcomes]


def _over_threats(means: NDArray[np.float64], over_threats: OverThreats) -> NDArray[np.float64]:
    return np.asarray(means.min(axis=0) if over_threats == "worst" else means.mean(axis=0))


def _resampled_means(rows: NDArray[Any], rng: np.random.Generator) -> NDArray[np.float64]:
    """Means of each row over resampled images, the same for all rows, of shape (rows, RESAMPLES)."""
    threats, images = rows.shape
    at_once = max(1, min(RESAMPLES, DRAWS_AT_ONCE // (threats * images)))
    sizes = [min(at_once, RESAMPLES - start) for start in range(0, RESAMPLES, at_once)]
    draws = (rng.integers(0, images, (size, images)) for size in sizes)
    return np.concatenate([rows[:, drawn].mean(axis=2) for drawn in draws], axis=1)
