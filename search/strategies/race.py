"""``race``: every soup of a lattice, until a paired test finds it worse than the best (not exact)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from search.evaluation import Bar, EvaluationRequest, Outcome, Visit, Weights
from search.objectives import Objectives
from search.pruning import Forecast, RaceBar, steps_of
from search.ranking import Evaluation, rank
from search.space import Space
from search.strategies.grid import DroppingEnumeration
from search.strategy import LatticeRequest, StrategyKind

GENERATION = 64
"""Soups that race against the same leader."""


class Race(LatticeRequest):
    """Every soup on a lattice, of which those that a paired test finds worse than the best are dropped early."""

    strategy: Literal["race"] = "race"
    p: float = Field(
        default=0.05,
        gt=0,
        lt=0.5,
        description="Level of the test: smaller values drop fewer soups. Nothing corrects for the number of tests.",
    )

    @property
    def drops_soups(self) -> bool:
        """See ``StrategyRequest``."""
        return True


class RaceSearch(DroppingEnumeration):
    """The best soup so far is the leader of each generation, so what is dropped does not depend on timing.

    Nothing is dropped with several objectives, or while no soup meets the constraints.
    """

    def __init__(self, request: Race, space: Space, objectives: Objectives, seed: int) -> None:
        super().__init__(request, space, objectives, seed)
        self._p = request.p
        self._seed = seed
        self._best: tuple[Evaluation, Outcome] | None = None
        self._bar: RaceBar | None = None

    def generation_size(self, images: int) -> int:
        """See ``DroppingEnumeration``."""
        del images
        return GENERATION

    def visits(self, soups: Sequence[Weights], found: Forecast, attacks: tuple[int, ...]) -> list[Visit]:
        """See ``DroppingEnumeration``. The order is random, so that the images seen so far stand for all."""
        rng = np.random.default_rng(self._seed)
        order = [rng.permutation(size) for size in found.sizes]
        self._bar = self._next_bar(order)
        return [Visit(steps_of(order, idle=found.idle), attacks)] * len(soups)

    def take(self, weights: Weights, outcome: Outcome) -> None:
        """See ``DroppingEnumeration``."""
        evaluation = self._objectives.evaluation(weights, outcome)
        others = [] if self._best is None else [self._best[0]]
        if evaluation.score is not None and rank([*others, evaluation])[0] is evaluation:
            self._best = evaluation, outcome

    def raise_bar(self, found: Sequence[tuple[EvaluationRequest, Outcome]]) -> Bar | None:
        """See ``Strategy``. The bar is the same during a generation."""
        del found
        return self._bar

    def _next_bar(self, order: Sequence[NDArray[np.intp]]) -> RaceBar | None:
        if self._best is None or self._best[0].violation > 0 or len(self._objectives.measures) > 1:
            return None
        measure = self._objectives.first
        pairs = zip(measure.of_sets(self._best[1].sets), measure.of_sets(order), strict=True)
        return RaceBar(measure, tuple(measure.outcomes(each)[:, rows] for each, rows in pairs), self._p)


def _bound(request: Race, space: Space) -> int:
    return request.lattice(space).count()


KIND = StrategyKind("race", Race, _bound, RaceSearch)
