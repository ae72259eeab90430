"""Strategies: how soup weights are proposed, and the names under which requests choose them."""

import operator
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from pkgutil import iter_modules
from typing import Annotated, Any, ClassVar, Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

import search.strategies
from search.budget import Budget
from search.evaluation import Bar, EvaluationRequest, Outcome, Weights
from search.lattice import Lattice
from search.objectives import Objectives
from search.space import TOLERANCE, SearchError, Space

ENTRY_POINTS = "soupsearch.strategies"
"""Group of the entry points by which an installed package adds strategies; each names a StrategyKind."""

MOST = 10.0
"""No weight of an ingredient is greater, or less than minus this."""
Weight = Annotated[float, Field(ge=-MOST, le=MOST)]

Generation = tuple[EvaluationRequest, ...]
"""Everything that a strategy wants evaluated before it decides again: soups, each at most once in a search."""


def generation(weights: Sequence[Weights]) -> Generation:
    """The soups of these weights, evaluated whole and under the request's attacks."""
    return tuple(EvaluationRequest(each) for each in weights)


class Strategy(ABC):
    """Proposes soups in generations and learns what was found.

    The loop calls ``propose``, has all of the generation evaluated, calls ``learn`` once, and so on until ``propose``
    returns None. A strategy is deterministic: equal arguments and equal outcomes give equal proposals. It proposes each
    soup at most once, within its space, and no more soups in total than its kind's bound. How large
    a generation is never depends on how many evaluators there are or how fast they answer.
    """

    @abstractmethod
    def propose(self) -> Generation | None:
        """The next generation, not empty; None when the search has ended."""

    @property
    def reads_logits(self) -> bool:
        """Whether it wants the logits of soups that an earlier search tried."""
        return False

    @property
    def reads_gradients(self) -> bool:
        """Whether it wants the gradients of soups that an earlier search tried."""
        return False

    def start_from(self, soups: Generation, outcomes: Sequence[Outcome]) -> None:
        """Take note of soups of an earlier search, before the first proposal.

        It may propose them all the same; they are not evaluated again.
        """
        del soups, outcomes

    @abstractmethod
    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """Receive the outcomes of the last generation, in the order in which it was proposed.

        An outcome may be ``not_finite`` or ``pruned``; such a soup has no score. No outcome is ``stopped``.
        """

    def raise_bar(self, found: Sequence[tuple[EvaluationRequest, Outcome]]) -> Bar | None:
        """The bar for those soups of the last generation that have a visit; None drops none.

        Called before the generation is evaluated, with what is known of it already; that bar holds for all of them.
        Then called whenever more is ``found``, in whatever order. Those bars may come late or never: they may change
        how many images are seen, but not the answer.
        """
        del found
        return None


class StrategyRequest(BaseModel):
    """The part of a request that chooses and configures a strategy; ``strategy`` is a literal of its name."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    differentiates: ClassVar[bool] = False
    """Whether the strategy asks for gradients: of one likelihood, of soups as they are, in float32."""

    strategy: str
    continue_from: str | None = Field(
        default=None,
        exclude_if=operator.not_,
        description="Id of a job that has ended, on the same pantry: its soups, as far as this search admits them, are "
        "evaluated first. What is known of them already costs nothing.",
    )
    fixed: dict[str, Weight] = Field(
        default={}, exclude_if=operator.not_, description="Weights of ingredients that do not vary, by name."
    )
    bounds: dict[str, tuple[Weight, Weight]] = Field(
        default={}, exclude_if=operator.not_, description="Least and greatest weights of single ingredients, by name."
    )

    @model_validator(mode="before")
    @classmethod
    def _has_no_budget(cls, value: Any) -> Any:
        if isinstance(value, dict) and "budget" in value and "budget" not in cls.model_fields:
            msg = (
                f"{cls.model_fields['strategy'].default} takes no budget, because it tries all of its soups: leave "
                "budget out, or choose auto, bayes, gradient, random or greedy"
            )
            raise ValueError(msg)
        return value

    def limits(self, space: Space) -> Budget | None:
        """The limits at which the loop ends the search early; None for a strategy that takes no budget."""
        del space
        return None

    def admits(self, weights: Weights, space: Space) -> bool:
        """Whether a soup of an earlier search lies within the limits of this one."""
        return weights in space

    @property
    def varied(self) -> tuple[str, ...] | None:
        """Names of the only ingredients that may have a weight other than 0 or a fixed one; None for all of them."""
        return None

    @property
    def drops_soups(self) -> bool:
        """Whether soups may be dropped before they have seen all images.

        They then cannot be refined, nor chosen by objectives that are read from logits.
        """
        return False

    def space(self, names: Sequence[str]) -> Space:
        """Where the weights of these ingredients may lie.

        Raises SearchError for a name that is not among them or is both fixed and bounded, for bounds of an ingredient
        that does not vary, and as ``Space`` does.
        """
        unknown = sorted((self.fixed.keys() | self.bounds.keys() | set(self.varied or ())) - set(names))
        if unknown:
            raise SearchError(f"there is no ingredient {unknown[0]!r}: the pantry has {', '.join(names)}")
        twice = sorted(self.fixed.keys() & self.bounds.keys())
        if twice:
            raise SearchError(f"{twice[0]!r} is both fixed and bounded: leave one out")
        for name, (low, high) in self.bounds.items():
            if low > high:
                raise SearchError(f"the bounds of {name!r} are {low:g} and {high:g}: give the least weight first")
        left_out = [] if self.varied is None else [name for name in names if name not in self.varied]
        for name in left_out:
            if name in self.bounds:
                raise SearchError(f"{name!r} has bounds, but {self.strategy} leaves it out: name it, or fix its weight")
        fixed = dict.fromkeys(left_out, 0.0) | self.fixed
        if not (fixed or self.bounds):
            return Space(len(names))
        limits = self.bounds | {name: (weight, weight) for name, weight in fixed.items()}
        return Space(len(names), tuple(limits.get(name, (-MOST, MOST)) for name in names))


class LatticeRequest(StrategyRequest):
    """A strategy that chooses among the soups on a lattice of affine weights."""

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

    @property
    def reach(self) -> tuple[float, float]:
        """The least and the greatest weight of an ingredient."""
        return (max(self.lower, 0.0), min(self.upper, 1.0)) if self.convex else (self.lower, self.upper)

    def lattice(self, space: Space) -> Lattice:
        """The lattice within the bounds of ``space``. Raises LatticeError when it has no point."""
        return Lattice(space.size, self.lower, self.upper, self.step, self.convex, space.bounds)

    def admits(self, weights: Weights, space: Space) -> bool:
        """Whether a soup, on the lattice or not, lies in ``space`` and within the limits of every ingredient."""
        low, high = self.reach
        return weights in space and all(low - TOLERANCE <= weight <= high + TOLERANCE for weight in weights)


@dataclass(frozen=True)
class StrategyKind:
    """A strategy as requests name it: ``name``, the model of its ``request``, its ``bound`` and how to ``start`` it.

    ``bound`` returns the greatest number of evaluations for a request in a space, without enumerating them, and raises
    SearchError if no search is possible there. ``start`` then makes the strategy, whose randomness comes only from the
    seed.
    """

    name: str
    request: type[StrategyRequest]
    bound: Callable[[Any, Space], int]
    start: Callable[[Any, Space, Objectives, int], Strategy]


@cache
def kinds() -> dict[str, StrategyKind]:
    """All strategies by name: the modules of ``search.strategies``, and the entry points of installed packages.

    Raises SearchError if two have the same name.
    """
    modules = [import_module(f"search.strategies.{found.name}") for found in iter_modules(search.strategies.__path__)]
    found = [module.KIND for module in modules] + [entry.load() for entry in entry_points(group=ENTRY_POINTS)]
    named: dict[str, StrategyKind] = {}
    for kind in found:
        if kind.name in named:
            raise SearchError(f"two strategies are named {kind.name!r}: rename one of them")
        named[kind.name] = kind
    return named


def kind_of(request: StrategyRequest) -> StrategyKind:
    """The kind that ``request`` names. Raises SearchError when there is none."""
    kind = kinds().get(request.strategy)
    if kind is None:
        raise SearchError(f"there is no strategy {request.strategy!r}: choose one of {', '.join(sorted(kinds()))}")
    return kind
