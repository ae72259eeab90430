"""``curve``: the soups of two ingredients, beyond both ends too (Croce et al., CVPR 2023, Figs 1, 2 and 5)."""

from fractions import Fraction
from typing import Literal, Self

from pydantic import Field, model_validator

from search.evaluation import Weights, weights_key
from search.objectives import Objectives
from search.space import SearchError, Space
from search.strategies.grid import Enumeration
from search.strategy import Strategy, StrategyKind, StrategyRequest, generation


class Curve(StrategyRequest):
    """Evenly spaced soups of two ingredients; the others have weight 0, or the one that ``fixed`` gives them."""

    strategy: Literal["curve"] = "curve"
    between: tuple[str, str] | None = Field(
        default=None, description="The two ingredients; may be left out where only two weights are not fixed."
    )
    lower: float = Field(default=-0.4, ge=-10, le=1, description="Least weight of either ingredient.")
    upper: float = Field(default=1.4, ge=0, le=10, description="Greatest weight of either ingredient.")
    points: int = Field(default=10, ge=2, le=1000, description="Soups from one end of the curve to the other.")

    @model_validator(mode="after")
    def _has_two_ends(self) -> Self:
        if self.between is not None and self.between[0] == self.between[1]:
            msg = f"a curve runs between two ingredients, and between names {self.between[0]!r} twice"
            raise ValueError(msg)
        return self

    @property
    def varied(self) -> tuple[str, ...] | None:
        """See ``StrategyRequest``."""
        return self.between

    def soups(self, space: Space, ends: tuple[int, int] | None = None) -> list[Weights]:
        """The soups in ``space``, from the least weight of the second of ``ends`` to its greatest.

        ``ends`` are places of ingredients in the pantry, by default the two that are not fixed. Limits are read as the
        decimals that a person would write, and each weight is the double nearest to its exact value. Raises SearchError
        where not just two weights vary, or none are possible.
        """
        first, second = ends or self._ends(space)
        lower, upper = _exact(self.lower), _exact(self.upper)
        bounds = [(_exact(low), _exact(high)) for low, high in space.bounds or ((self.lower, self.upper),) * space.size]
        weights = [low for low, _ in bounds]
        rest = 1 - sum(weight for place, weight in enumerate(weights) if place not in {first, second})
        (low, high), (least, most) = (
            (max(lower, bounds[end][0]), min(upper, bounds[end][1])) for end in (first, second)
        )
        least, most = max(least, rest - high), min(most, rest - low)
        if least > most:
            raise SearchError("no two weights within their limits sum to what is left for them: widen the limits")
        soups: dict[str, Weights] = {}  # by name: narrow limits hold fewer soups than were asked for
        for step in range(self.points):
            weights[second] = least + (most - least) * step / (self.points - 1)
            weights[first] = rest - weights[second]
            soup = tuple(map(float, weights))
            soups.setdefault(weights_key(soup), soup)
        return list(soups.values())

    @staticmethod
    def _ends(space: Space) -> tuple[int, int]:
        free = [
            place
            for place in range(space.size)
            if space.bounds is None or space.bounds[place][0] < space.bounds[place][1]
        ]
        if len(free) != 2:
            raise SearchError(
                f"a curve runs between two ingredients, and {len(free)} have a weight that is not fixed: "
                "name two in between"
            )
        return free[0], free[1]


def _exact(value: float) -> Fraction:
    return Fraction(str(value))


def _start(request: Curve, space: Space, objectives: Objectives, seed: int) -> Strategy:
    del objectives, seed
    return Enumeration(generation(request.soups(space)))


KIND = StrategyKind("curve", Curve, lambda request, space: len(request.soups(space)), _start)
