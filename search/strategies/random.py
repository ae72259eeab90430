"""``random``: soups of a lattice in random order, the yardstick of every other strategy."""

from typing import Literal, Self

import numpy as np
from pydantic import Field, model_validator

from search.budget import Budget
from search.evaluation import Weights, weights_key
from search.objectives import Objectives
from search.space import Space
from search.strategies.grid import Enumeration
from search.strategy import LatticeRequest, Strategy, StrategyKind, generation

DRAWS = 50
"""Draws for each soup wanted, at most; a lattice of no more points is enumerated and shuffled."""


class Random(LatticeRequest):
    """Soups of a lattice in random order."""

    strategy: Literal["random"] = "random"
    budget: Budget = Field(default=Budget(), description="When to stop; without interval.")

    @model_validator(mode="after")
    def _is_one_generation(self) -> Self:
        if self.budget.interval is not None:
            msg = "random proposes all of its soups at once, so that none settles the search: leave interval out"
            raise ValueError(msg)
        return self

    def limits(self, space: Space) -> Budget:
        """See ``StrategyRequest``."""
        del space
        return self.budget


def _start(request: Random, space: Space, objectives: Objectives, seed: int) -> Strategy:
    del objectives
    lattice, rng = request.lattice(space), np.random.default_rng(seed)
    count, wanted = lattice.count(), _bound(request, space)
    if count <= DRAWS * wanted:
        rows = rng.permutation(lattice.weights())[:wanted].tolist()
        return Enumeration(generation([tuple(row) for row in rows]))
    soups: dict[str, Weights] = {}
    for _ in range(DRAWS * wanted):
        weights = tuple(lattice.at(lattice.sample(rng)[None])[0].tolist())
        soups[weights_key(weights)] = weights
        if len(soups) == wanted:
            break
    return Enumeration(generation(list(soups.values())))


def _bound(request: Random, space: Space) -> int:
    return min(request.budget.evaluations, request.lattice(space).count())


KIND = StrategyKind("random", Random, _bound, _start)
