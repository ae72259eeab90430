"""How a claim is decided."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from lab.study.averages import Estimate

Verdict = Literal["holds", "does not hold", "undecided", "not measured"]
ROUNDING = 1e-9
"""An interval that ends this near to the threshold ends at it: sums of floats err by as much."""
NOT_MEASURED = Estimate(math.nan, math.nan, math.nan)


@dataclass(frozen=True)
class PaperClaim:
    """A claim of the paper and what was measured of it.

    It ``holds`` when the whole 95 % interval lies on the claimed ``side`` of ``threshold``, it ``does not hold`` when
    the whole interval lies on the other side, and is ``undecided`` in between or when it ends at the threshold.
    ``unit``: percentage points, or none.
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
