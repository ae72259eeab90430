"""``grid``: every soup on a lattice of affine weights (Croce et al., CVPR 2023, section 4.3)."""

from collections.abc import Sequence
from typing import Literal, Self

from pydantic import Field, model_validator

from search.evaluation import Outcome
from search.lattice import Lattice
from search.objectives import Objectives
from search.space import Space
from search.strategy import Generation, Strategy, StrategyKind, StrategyRequest, generation

GENERATION = 4096
"""Soups at once: what is found of them, image by image, is in memory together."""


class Grid(StrategyRequest):
    """Every soup on a lattice of affine weights."""

    strategy: Literal["grid"] = "grid"
    lower: float = Field(default=-0.4, ge=-10, le=1, description="Least weight of an ingredient.")
    upper: float = Field(default=1.4, ge=0, le=10, description="Greatest weight of an ingredient.")
    step: float = Field(default=0.2, gt=0, le=1, description="Distance between neighbouring weights.")
    convex: bool = Field(default=False, description="Only weights in [0, 1]: interpolation alone.")

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower >= self.upper:
            msg = f"lower ({self.lower}) must be less than upper ({self.upper})"
            raise ValueError(msg)
        return self

    def lattice(self, space: Space) -> Lattice:
        """The lattice within the bounds of ``space``. Raises LatticeError when it has no point."""
        return Lattice(space.size, self.lower, self.upper, self.step, self.convex, space.bounds)


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
