"""A claim of the paper: how it is decided, for one pantry and over training seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from lab.study.averages import Estimate
from search.resampling import sample_interval

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]
ROUNDING = 1e-9
"""An interval that ends this close to the threshold counts as ending at it: sums of floats are off by as much."""
NOT_MEASURED = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class PaperClaim:
    """A claim of the paper and what was measured for it.

    It ``holds`` when the whole 95 % interval lies on the claimed ``side`` of ``threshold``, it ``does not hold`` when
    the whole interval lies on the other side, and it is ``undecided`` in between or when the interval ends at the
    threshold. ``unit``: percentage points, or none.
    """

    number: str
    statement: str
    measure: str
    pantry: str
    estimate: Estimate
    threshold: float
    side: Literal["above", "below"] = "above"
    unit: Literal["points", ""] = "points"
    note: str = ""

    @property
    def verdict(self) -> Verdict:
        """What the rule says."""
        estimate = self.estimate
        if math.isnan(estimate.value):
            return "not measured"
        above, below = estimate.low > self.threshold + ROUNDING, estimate.high < self.threshold - ROUNDING
        if above or below:
            return "holds" if above == (self.side == "above") else "does not hold"
        return "undecided"


def in_points(estimate: Estimate) -> Estimate:
    """A difference of accuracies as percentage points."""
    value, low, high = (round(100 * each, 9) + 0.0 for each in (estimate.value, estimate.low, estimate.high))
    return Estimate(value, low, high)


def over_seeds(architecture: str, claims: Sequence[Sequence[PaperClaim]]) -> list[PaperClaim]:
    """One claim from the claims of several pantries: the mean and its interval over seeds (Student's t).

    Claims that were not measured for every pantry are left out. With two or three seeds such intervals are wide.
    """
    by_number: dict[str, list[PaperClaim]] = {}
    for claim in (claim for each in claims for claim in each):
        if not math.isnan(claim.estimate.value):
            by_number.setdefault(claim.number, []).append(claim)
    whole = [found for found in by_number.values() if len(found) == len(claims)]
    return [_mean(architecture, found) for found in whole]


def _mean(architecture: str, claims: Sequence[PaperClaim]) -> PaperClaim:
    values = np.array([claim.estimate.value for claim in claims])
    estimate = Estimate.of(float(values.mean()), sample_interval(values))
    note = ", ".join(f"{claim.pantry} {claim.estimate.value:+.2f}" for claim in claims)
    return replace(claims[0], pantry=f"{architecture}, {len(claims)} seeds", estimate=estimate, note=note)
