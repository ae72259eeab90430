"""``grid``: every soup on a lattice of affine weights (Croce et al., CVPR 2023, section 4.3)."""

from collections.abc import Sequence
from typing import Literal

from search.evaluation import Outcome
from search.objectives import Objectives
from search.space import Space
from search.strategy import Generation, LatticeRequest, Strategy, StrategyKind, generation

GENERATION = 4096
"""Soups at once: what is found of them, image by image, is in memory together."""


class Grid(LatticeRequest):
    """Every soup on a lattice of affine weights."""

    strategy: Literal["grid"] = "grid"


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


def _start(request: Grid, space: Space, objectives: Objectives, seed: int) -> Strategy:
    del objectives, seed
    return Enumeration(generation([tuple(map(float, row)) for row in request.lattice(space).weights()]))


KIND = StrategyKind("grid", Grid, lambda request, space: request.lattice(space).count(), _start)
