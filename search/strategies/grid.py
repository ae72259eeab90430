"""``grid``: every soup on a lattice of affine weights (Croce et al., CVPR 2023, section 4.3)."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from search.budget import Budget
from search.evaluation import Bar, EvaluationRequest, Outcome, Visit, Weights, weights_key
from search.objectives import Objectives
from search.pruning import ExactPruning, Forecast, steps_of
from search.space import Space
from search.strategies.bayes import Bayes, BayesianSearch
from search.strategy import Generation, LatticeRequest, Strategy, StrategyKind, generation

GENERATION = 4096
"""Soups at once: what is found of them, image by image, is in memory together."""
PRUNED_GENERATION, VISITED_IMAGES = 512, 5_000_000
"""Most soups at once that each bring their own order of the images, and most images in all, about 40 bytes each."""
SCOUTS = 6
"""Soups for each ingredient that see all images before any other may be dropped, or as many as are reported if more."""


class Grid(LatticeRequest):
    """Every soup on a lattice of affine weights."""

    strategy: Literal["grid"] = "grid"
    prune: bool = Field(
        default=False,
        description="Drop a soup as soon as it can no longer be among the top_k best, nor on the Pareto front. These "
        "and their scores stay exactly the same; the other soups have no score.",
    )

    @property
    def drops_soups(self) -> bool:
        """See ``StrategyRequest``."""
        return self.prune


class Enumeration(Strategy):
    """Proposes given soups in their order, in generations that bound the memory of their outcomes, and then ends."""

    def __init__(self, soups: Generation) -> None:
        self._soups = soups
        self._proposed = 0

    def propose(self) -> Generation | None:
        """The next soups."""
        soups = self._soups[self._proposed : self._proposed + GENERATION]
        self._proposed += len(soups)
        return soups or None

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Nothing: what comes next does not depend on it."""


class DroppingEnumeration(Strategy, ABC):
    """Proposes all soups of a lattice, the promising ones first; those after them may be dropped.

    A Gaussian process proposes the first soups, which see all images: the sooner a good soup is known, the sooner are
    others dropped. The others come ``generation_size`` at a time, in the order of what the process expects of them.
    """

    def __init__(self, request: LatticeRequest, space: Space, objectives: Objectives, seed: int) -> None:
        lattice = request.lattice(space)
        corners = lattice.at(np.unique([lattice.nearest(row) for row in np.eye(lattice.size).tolist()], axis=0))
        self._corners = [tuple(row) for row in corners.tolist()]
        limits = request.model_dump(include={"lower", "upper", "step", "convex", "fixed", "bounds"})
        budget = Budget(evaluations=max(SCOUTS * space.size, objectives.top_k))
        bayes = Bayes(**limits, budget=budget, tolerance=0)
        self._scout = BayesianSearch(bayes, space, objectives, seed, self._corners)
        self._scouts: list[tuple[Weights, Outcome]] = []
        self._others: list[Weights] | None = None
        self._objectives = objectives
        self._lattice = lattice
        self._proposed: Generation = ()

    @property
    def reads_logits(self) -> bool:
        """See ``Strategy``."""
        return self._scout.reads_logits

    @abstractmethod
    def generation_size(self, images: int) -> int:
        """How many soups that may be dropped are proposed at once where each sees so many images."""

    @abstractmethod
    def visits(self, soups: Sequence[Weights], found: Forecast, attacks: tuple[int, ...]) -> list[Visit]:
        """The visits of ``soups``, and of ``attacks`` in this order."""

    @abstractmethod
    def take(self, weights: Weights, outcome: Outcome) -> None:
        """Learn of a soup that has seen all images."""

    def propose(self) -> Generation | None:
        """See ``Strategy``."""
        if self._others is None:
            if scouts := self._scout.propose():
                self._proposed = scouts
                return scouts
            self._others = self._ordered()
        if not self._others:
            return None
        first = self._scouts[: len(self._corners)]
        outcomes = [outcome for _, outcome in first]
        found = Forecast(self._objectives, np.array([weights for weights, _ in first]), outcomes)
        size = self.generation_size(sum(found.sizes))
        soups, self._others = self._others[:size], self._others[size:]
        visits = self.visits(soups, found, _most_broken_first(outcomes))
        self._proposed = tuple(EvaluationRequest(soup, visit=visit) for soup, visit in zip(soups, visits, strict=True))
        return self._proposed

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """See ``Strategy``."""
        found = [(soup.weights, outcome) for soup, outcome in zip(self._proposed, outcomes, strict=True)]
        for weights, outcome in found:
            self.take(weights, outcome)
        if self._others is None:
            self._scouts += found
            self._scout.learn(outcomes)

    def _ordered(self) -> list[Weights]:
        """The soups not yet proposed, by what is expected of them: least violation of the constraints, then score."""
        tried = {weights_key(weights) for weights, _ in self._scouts}
        weights = np.array([row for row in self._lattice.weights().tolist() if weights_key(row) not in tried])
        if not len(weights):
            return []
        values, violations = self._scout.forecast(weights)
        return [tuple(row) for row in weights[np.lexsort((-values, violations))].tolist()]


def _most_broken_first(outcomes: Sequence[Outcome]) -> tuple[int, ...]:
    """The attacks in the order of how many images they break, most first."""
    flags = [each.robust for outcome in outcomes for each in outcome.sets if each.robust is not None]
    return tuple(np.argsort(sum(each.sum(axis=1) for each in flags), kind="stable").tolist()) if flags else ()


class PrunedGrid(DroppingEnumeration):
    """Drops only soups that can no longer matter. Each sees first the images on which it is expected to fail."""

    def __init__(self, request: Grid, space: Space, objectives: Objectives, seed: int) -> None:
        super().__init__(request, space, objectives, seed)
        self._pruning = ExactPruning(objectives)

    def generation_size(self, images: int) -> int:
        """See ``DroppingEnumeration``."""
        return max(1, min(PRUNED_GENERATION, VISITED_IMAGES // images))

    def visits(self, soups: Sequence[Weights], found: Forecast, attacks: tuple[int, ...]) -> list[Visit]:
        """See ``DroppingEnumeration``. No soup can be dropped before it has more errors than the last of the best."""
        best = self._pruning.bar.best
        errors = 1 - best[1] if self._objectives.first.metric == "accuracy" and best is not None else 0.0
        return [Visit(steps_of(found.hardest_first(soup), errors, found.idle), attacks) for soup in soups]

    def take(self, weights: Weights, outcome: Outcome) -> None:
        """See ``DroppingEnumeration``."""
        self._pruning.learn(weights, outcome)

    def raise_bar(self, found: Sequence[tuple[EvaluationRequest, Outcome]]) -> Bar:
        """See ``Strategy``."""
        for request, outcome in found:
            self._pruning.learn(request.weights, outcome)
        return self._pruning.bar


def _start(request: Grid, space: Space, objectives: Objectives, seed: int) -> Strategy:
    if request.prune:
        return PrunedGrid(request, space, objectives, seed)
    return Enumeration(generation([tuple(row) for row in request.lattice(space).weights().tolist()]))


KIND = StrategyKind("grid", Grid, lambda request, space: request.lattice(space).count(), _start)
