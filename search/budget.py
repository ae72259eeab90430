"""What a search may cost, and when that ends it."""

import time
from collections.abc import Callable, Sequence
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from search.evaluation import EvaluationRequest, Outcome
from search.objectives import Objectives
from search.ranking import Evaluation, rank

EndedBy = Literal["strategy", "evaluations", "forward_passes", "seconds", "interval"]
"""Why a search ended: its strategy had nothing more to propose, or one of the limits of its budget was reached."""


MOST_EVALUATIONS = 1000
EVALUATIONS = "Most soups to evaluate, the first ones included."


class CostLimits(BaseModel):
    """Limits of a search besides the number of its evaluations."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    forward_passes: int | None = Field(
        default=None,
        ge=1,
        description="Most forward passes of one image by the soups tried; those of soups known already count as well.",
    )
    seconds: float | None = Field(
        default=None,
        gt=0,
        le=1e9,
        description="Longest time to search, over all attempts; which soups are tried then depends on timing.",
    )
    interval: float | None = Field(
        default=None,
        gt=0,
        description="Stop after a generation whose soups are all worse than the best before it, or better by less than "
        "this, at the upper end of the 95 % interval of their paired difference; in units of the score.",
    )

    @property
    def is_open(self) -> bool:
        """Whether none of them is set."""
        return self.forward_passes is None and self.seconds is None and self.interval is None


class Budget(CostLimits):
    """Limits of a search; the first that is reached ends it."""

    evaluations: int = Field(default=32, ge=1, le=MOST_EVALUATIONS, description=EVALUATIONS)


class Meter:
    """Measures what a search spends of its ``budget``; without one there is no limit.

    ``passes_a_soup`` is the most forward passes that one soup takes. ``clock`` gives seconds, and ``spent`` are those
    of earlier attempts. A search that ``continues`` another begins with two generations that settle nothing: the
    other's soups, and its own first ones. Nothing but ``seconds`` depends on the clock, on the order in which outcomes
    come, or on whether they were known already.
    """

    def __init__(
        self,
        budget: Budget | None = None,
        objectives: Objectives | None = None,
        *,
        passes_a_soup: int = 1,
        continues: bool = False,
        spent: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._budget = budget
        self._objectives = objectives or Objectives()
        self._passes_a_soup = passes_a_soup
        self._clock = clock
        self._began = clock() - spent
        self._passes = 0
        self._has_score = False
        self._beginnings = 2 if continues else 1
        self._best: tuple[Evaluation, Outcome] | None = None

    def affordable(self) -> int | None:
        """How many soups may be evaluated next, whatever they cost; None: any number."""
        if self._budget is None or self._budget.forward_passes is None:
            return None
        return max(0, self._budget.forward_passes - self._passes) // self._passes_a_soup

    def is_late(self) -> bool:
        """Whether the time is over; never before one soup has a score."""
        limit = None if self._budget is None else self._budget.seconds
        return limit is not None and self._has_score and self._clock() - self._began >= limit

    def see(self, outcomes: Sequence[Outcome]) -> None:
        """Take note of outcomes as they are found."""
        self._passes += sum(outcome.passes.forward for outcome in outcomes)
        self._has_score = self._has_score or any(map(self._objectives.is_valid, outcomes))

    def end_of(self, soups: int) -> EndedBy:
        """What ended a search whose strategy proposes no more after so many soups."""
        return "evaluations" if self._budget is not None and soups >= self._budget.evaluations else "strategy"

    def is_settled(self, soups: Sequence[EvaluationRequest], outcomes: Sequence[Outcome]) -> bool:
        """Whether none of a whole generation is better by ``interval`` than the best before it.

        Soups that violate a constraint, or have no score, do not count; before one meets all nothing is settled.
        """
        target = None if self._budget is None else self._budget.interval
        if target is None:
            return False
        pairs = zip(soups, outcomes, strict=True)
        found = {soup: outcome for soup, outcome in pairs if self._objectives.is_valid(outcome)}
        ranked = [(self._objectives.evaluation(soup.weights, outcome), outcome) for soup, outcome in found.items()]
        met = [(soup, outcome) for soup, outcome in ranked if soup.violation == 0]
        before = self._best
        every = [*met, *([] if before is None else [before])]
        if every:
            best = rank([soup for soup, _ in every])[0]
            self._best = next((soup, outcome) for soup, outcome in every if soup is best)
        is_beginning, self._beginnings = self._beginnings > 0, self._beginnings - 1
        if before is None or is_beginning:
            return False
        return not any(self._may_gain(outcome, before[1], target) for _, outcome in met)

    def _may_gain(self, outcome: Outcome, best: Outcome, target: float) -> bool:
        test = self._objectives.compare(outcome, best)
        return test is None or test.interval[1] >= target
