"""``simplex``: the convex soups of three or more ingredients (Croce et al., CVPR 2023, Figs 3, 4 and 10)."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from search.evaluation import Weights
from search.lattice import Lattice
from search.objectives import Objectives
from search.space import Space
from search.strategies.grid import Enumeration
from search.strategy import Strategy, StrategyKind, StrategyRequest, generation


class Simplex(StrategyRequest):
    """Every soup without negative weights on a lattice; ingredients that are not named have weight 0.

    An ingredient that is not named has the weight that ``fixed`` gives it instead, if it gives one.
    """

    strategy: Literal["simplex"] = "simplex"
    among: Annotated[tuple[str, ...], Field(min_length=2)] | None = Field(
        default=None, description="The ingredients to mix; by default all of them."
    )
    step: float = Field(default=0.2, gt=0, le=1, description="Distance between neighbouring weights.")

    @model_validator(mode="after")
    def _names_each_once(self) -> Self:
        if self.among is not None and len(set(self.among)) < len(self.among):
            msg = "among names an ingredient twice: name each once"
            raise ValueError(msg)
        return self

    @property
    def varied(self) -> tuple[str, ...] | None:
        """See ``StrategyRequest``."""
        return self.among

    def lattice(self, space: Space) -> Lattice:
        """The soups as a lattice. Raises LatticeError when it has no point, as where 1 is no multiple of the step."""
        return Lattice(space.size, lower=0.0, upper=1.0, step=self.step, bounds=space.bounds)

    def soups(self, space: Space) -> list[Weights]:
        """The soups in ``space``, in lexicographic order. Raises as ``lattice`` does."""
        return [tuple(map(float, row)) for row in self.lattice(space).weights()]


def _start(request: Simplex, space: Space, objectives: Objectives, seed: int) -> Strategy:
    del objectives, seed
    return Enumeration(generation(request.soups(space)))


KIND = StrategyKind("simplex", Simplex, lambda request, space: request.lattice(space).count(), _start)
