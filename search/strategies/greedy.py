"""``greedy``: ingredients join an average while it gets no worse (Wortsman et al., ICML 2022, recipe 1)."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from pydantic import Field

from search.budget import Budget
from search.evaluation import Outcome, Weights
from search.objectives import Objectives
from search.ranking import Evaluation, rank, sort_key
from search.space import SearchError, Space
from search.strategy import Generation, Strategy, StrategyKind, StrategyRequest, generation


class Greedy(StrategyRequest):
    """The greedy soup: at most twice as many evaluations as there are ingredients."""

    strategy: Literal["greedy"] = "greedy"
    budget: Budget = Field(default=Budget(), description="When to stop at the latest.")

    def limits(self, space: Space) -> Budget:
        """See ``StrategyRequest``."""
        del space
        return self.budget


class GreedySearch(Strategy):
    """First all ingredients; then the average of the best ones, each kept if the soup with it is no worse."""

    def __init__(self, request: Greedy, space: Space, objectives: Objectives) -> None:
        self._left = request.budget.evaluations
        self._size = space.size
        self._objectives = objectives
        self._proposed: list[Weights] = []
        self._order: list[int] | None = None
        self._chosen: list[int] = []
        self._best: Evaluation | None = None

    def propose(self) -> Generation | None:
        """See ``Strategy``."""
        if self._order is None:
            self._proposed = [self._average([place]) for place in range(min(self._size, self._left))]
        elif self._chosen and self._order and self._left > 0:
            self._proposed = [self._average([*self._chosen, self._order[0]])]
        else:
            return None
        self._left -= len(self._proposed)
        return generation(self._proposed)

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """See ``Strategy``."""
        pairs = zip(self._proposed, outcomes, strict=True)
        found = [self._objectives.evaluation(weights, outcome) for weights, outcome in pairs]
        if self._order is None:
            ranked = rank(found)
            self._order = [int(np.argmax(each.weights)) for each in ranked]
            self._chosen, self._order, self._best = self._order[:1], self._order[1:], next(iter(ranked), None)
            return
        joined, self._order = self._order[0], self._order[1:]
        if self._best is not None and found[0].score is not None and not _is_worse(found[0], self._best):
            self._chosen.append(joined)
            self._best = found[0]

    def _average(self, places: Sequence[int]) -> Weights:
        return tuple(1 / len(places) if place in places else 0.0 for place in range(self._size))


def _is_worse(soup: Evaluation, than: Evaluation) -> bool:
    """By constraints, score and other objectives: ties are kept, as in the paper."""
    return sort_key(soup)[:3] > sort_key(than)[:3]


def _start(request: Greedy, space: Space, objectives: Objectives, seed: int) -> Strategy:
    del seed
    return GreedySearch(request, space, objectives)


def _bound(request: Greedy, space: Space) -> int:
    if space.bounds is not None:
        raise SearchError("greedy soups are averages of ingredients: leave fixed and bounds out, or choose bayes")
    return min(2 * space.size - 1, request.budget.evaluations)


KIND = StrategyKind("greedy", Greedy, _bound, _start)
