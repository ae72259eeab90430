"""``uniform``: the uniform soup alone."""

from typing import Literal

from search.objectives import Objectives
from search.space import SearchError, Space
from search.strategies.grid import Enumeration
from search.strategy import Strategy, StrategyKind, StrategyRequest, generation


class Uniform(StrategyRequest):
    """The uniform soup alone, scored beside its ingredients: no search."""

    strategy: Literal["uniform"] = "uniform"


def _start(request: Uniform, space: Space, objectives: Objectives, seed: int) -> Strategy:
    del request, objectives, seed
    return Enumeration(generation([space.uniform]))


def _bound(request: Uniform, space: Space) -> int:
    del request
    if space.uniform not in space:
        raise SearchError("the uniform soup lies outside the bounds: widen them, or choose another strategy")
    return 1


KIND = StrategyKind("uniform", Uniform, _bound, _start)
