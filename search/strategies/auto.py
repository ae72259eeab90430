"""``auto``: every soup where they are few, a Gaussian process's proposals where they are many or time is short."""

from typing import Literal

from pydantic import Field

from search.budget import EVALUATIONS, MOST_EVALUATIONS, Budget, CostLimits
from search.objectives import Objectives
from search.space import Space
from search.strategies.bayes import KIND as BAYES
from search.strategies.bayes import Bayes
from search.strategies.grid import KIND as GRID
from search.strategies.grid import Grid
from search.strategy import LatticeRequest, Strategy, StrategyKind, StrategyRequest

FEW = 64
"""Soups that are all tried; about as many passes as a search that only looks."""
BUDGET = 32
BUDGET_PER_INGREDIENT = 6
"""Evaluations of a search, beyond four ingredients in proportion to them; docs/search.md says what they find."""


class AutoBudget(CostLimits):
    """Limits of a search whose number of evaluations may be left to the strategy."""

    evaluations: int | None = Field(default=None, ge=1, le=MOST_EVALUATIONS, description=EVALUATIONS)


class Auto(LatticeRequest):
    """Chooses among the other strategies."""

    strategy: Literal["auto"] = "auto"
    budget: AutoBudget | None = Field(
        default=None,
        description="When to stop at the latest; where evaluations are left out, after 32 soups, or 6 for each "
        "ingredient if more.",
    )

    def chosen(self, space: Space) -> tuple[StrategyKind, StrategyRequest]:
        """The strategy that it stands for, and its request. Raises LatticeError when the lattice has no point."""
        lattice = self.model_dump(include={"lower", "upper", "step", "convex", "fixed", "bounds"})
        given = self.budget or AutoBudget()
        if given.is_open and self.lattice(space).count() <= min(FEW, given.evaluations or FEW):
            return GRID, Grid(**lattice)
        evaluations = given.evaluations or max(BUDGET, BUDGET_PER_INGREDIENT * space.size)
        return BAYES, Bayes(**lattice, budget=Budget(**given.model_dump() | {"evaluations": evaluations}))

    def limits(self, space: Space) -> Budget | None:
        """See ``StrategyRequest``."""
        return self.chosen(space)[1].limits(space)


def _start(request: Auto, space: Space, objectives: Objectives, seed: int) -> Strategy:
    kind, chosen = request.chosen(space)
    return kind.start(chosen, space, objectives, seed)


def _bound(request: Auto, space: Space) -> int:
    kind, chosen = request.chosen(space)
    return kind.bound(chosen, space)


KIND = StrategyKind("auto", Auto, _bound, _start)
