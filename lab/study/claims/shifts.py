"""Claims about soups on shifted data: what they gain, how many images they need, what they consist of."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from lab.study.averages import Average, Estimate, Outcomes
from lab.study.claims.claim import NOT_MEASURED, PaperClaim, in_points
from lab.study.claims.robustness import rank_correlations
from lab.study.config import CLEAN, MAX, SAT
from lab.study.figures.composition import Composition
from lab.study.figures.few_shot import FewShotPoint
from lab.study.methods import (
    BEST_INGREDIENT,
    BEST_SINGLE_INGREDIENT,
    CONVEX,
    ENSEMBLE_OF_ALL,
    ENSEMBLE_OF_TWO,
    SINGLE,
    SPECIFIC,
)
from lab.study.results import PantryResults, ShiftTable
from search.resampling import crossed_interval, percentile_interval

FEW, MANY = 100, 500
SUFFICIENT = 1.0
FEWEST_SEVERITIES = 3


_GAINS = (
    ("3b", "Negative weights help on shifts", SPECIFIC, CONVEX, "shifted"),
    ("5c", "Dataset-specific soups beat MAX on shifts", SPECIFIC, MAX, "shifted"),
    ("5d", "Dataset-specific soups beat SAT on shifts", SPECIFIC, SAT, "shifted"),
    ("5e", "The single soup beats MAX on shifts", SINGLE, MAX, "shifted"),
    ("5f", "The single soup beats SAT on shifts", SINGLE, SAT, "shifted"),
    ("6a", "Dataset-specific soups beat each ingredient on strong shifts", SPECIFIC, BEST_INGREDIENT, "strong"),
    ("6b", "Dataset-specific soups beat the ensemble of all on strong shifts", SPECIFIC, ENSEMBLE_OF_ALL, "strong"),
    ("6c", "Dataset-specific soups beat the ensemble of two on strong shifts", SPECIFIC, ENSEMBLE_OF_TWO, "strong"),
    ("7a", "The single soup beats each ingredient", SINGLE, BEST_SINGLE_INGREDIENT, "tables"),
    ("7b", "Dataset-specific soups beat the single soup", SPECIFIC, SINGLE, "tables"),
)
"""Number, statement, ours, theirs, and the tables of the results over which the mean is taken."""


def shift_claims(results: PantryResults, outcomes: Mapping[str, Outcomes]) -> list[PaperClaim]:
    """The claims about accuracy on shifts. Every difference is on held-out images, paired by image.

    Clean images alone give no claim: they only count together with shifts.
    """
    claims = []
    for number, statement, ours, theirs, group in _GAINS:
        tables: Sequence[ShiftTable] = getattr(results, group) if results.shifted else ()
        measure = f"{ours}, less {theirs}, mean over {len(tables)} sets"
        estimate, note = _gain(tables, outcomes.get(ours), outcomes.get(theirs))
        claims.append(PaperClaim(number, statement, measure, results.name, in_points(estimate), 0.0, note=note))
    return claims


def _gain(tables: Sequence[ShiftTable], ours: Outcomes | None, theirs: Outcomes | None) -> tuple[Estimate, str]:
    """The mean difference, and on how many sets it is positive and negative."""
    if not tables or ours is None or theirs is None:
        return NOT_MEASURED, ""
    names = [table.shift.name for table in tables]
    gains = [float(ours[name].mean() - theirs[name].mean()) for name in names]
    better, worse = sum(gain > 0 for gain in gains), sum(gain < 0 for gain in gains)
    return Average(tables).difference(ours, theirs), f"better on {better}, worse on {worse} of {len(names)} sets"


def few_shot_claim(pantry: str, points: Sequence[FewShotPoint]) -> PaperClaim:
    """Whether soups chosen on 100 images are within a point of those chosen on 500, over images and draws."""
    found = {point.count: point for point in points if point.by == "accuracy"}
    estimate, note = NOT_MEASURED, ""
    if FEW in found and MANY in found:
        difference = found[MANY].per_image - found[FEW].per_image
        estimate = Estimate.of(float(difference.mean()), crossed_interval(difference))
        note = f"standard deviation over draws of 100 images: {100 * found[FEW].deviation:.1f} points"
    measure = f"soups chosen on {MANY} images, less those chosen on {FEW}, mean over sets and draws"
    return PaperClaim("8", "100 images suffice", measure, pantry, in_points(estimate), SUFFICIENT, "below", note=note)


def composition_claims(results: PantryResults, items: Sequence[Composition]) -> list[PaperClaim]:
    """Whether the top five soups move from the nominal ingredient to the robust ones as shifts become stronger."""
    nominal = [index for index, name in enumerate(results.ingredients) if results.specialty[name] == CLEAN]
    groups = [group for group in _by_corruption(items) if len(group) >= FEWEST_SEVERITIES] if nominal else []
    trend, change = NOT_MEASURED, NOT_MEASURED
    if groups:
        trend = _estimate([_trend(group, nominal[0]) for group in groups])
        change = _estimate([line[:, -1] - line[:, 0] for line in (_weights(group, nominal[0]) for group in groups)])
    statement = "Composition moves from nominal to robust with severity"
    measure = "rank correlation of severity with the nominal weight in the top five, mean over corruptions"
    size = "nominal weight in the top five at the highest severity, less that at the lowest, mean over corruptions"
    return [
        PaperClaim("9a", statement, measure, results.name, trend, 0.0, "below", unit=""),
        PaperClaim("9b", statement, size, results.name, change, 0.0, "below", unit=""),
    ]


def _by_corruption(items: Sequence[Composition]) -> list[list[Composition]]:
    groups: dict[str, list[Composition]] = {}
    for item in sorted(items, key=lambda each: each.severity):
        if item.corruption:
            groups.setdefault(item.corruption, []).append(item)
    return list(groups.values())


def _weights(group: Sequence[Composition], nominal: int) -> NDArray[np.float64]:
    """The nominal weight by severity, first as measured and then resampled: (1 + draws, severities)."""
    columns = [np.concatenate([[item.mean[nominal]], item.resampled[:, nominal]]) for item in group]
    return np.stack(columns, axis=1)


def _trend(group: Sequence[Composition], nominal: int) -> NDArray[np.float64]:
    severities = np.array([item.severity for item in group], dtype=np.float64)
    return rank_correlations(severities, _weights(group, nominal))


def _estimate(samples: Sequence[NDArray[np.float64]]) -> Estimate:
    """Mean over corruptions of the measured figures, with the interval of the resampled ones."""
    mean = np.mean(samples, axis=0)
    return Estimate.of(float(mean[0]), percentile_interval(mean[1:]))
