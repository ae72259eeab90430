"""``gradient``: descents of the negative log-likelihood along its gradient in the soup weights."""

from collections.abc import Sequence
from typing import ClassVar, Literal, Self

import numpy as np
from pydantic import Field, model_validator

from search.budget import Budget
from search.descent import Array, Box, Descent, Differentiated
from search.evaluation import EvaluationRequest, Outcome, Weights, weights_key
from search.objectives import Objectives
from search.space import TOLERANCE, Space
from search.strategies.bayes import starts
from search.strategy import Generation, Strategy, StrategyKind, StrategyRequest


class Gradient(StrategyRequest):
    """Follows the gradient of the likelihood, whatever the objective: soups need not lie on a lattice."""

    differentiates: ClassVar[bool] = True

    strategy: Literal["gradient"] = "gradient"
    lower: float = Field(default=-0.4, ge=-10, le=1, description="Least weight of an ingredient.")
    upper: float = Field(default=1.4, ge=0, le=10, description="Greatest weight of an ingredient.")
    budget: Budget = Field(default=Budget(), description="When to stop at the latest.")
    descents: int = Field(
        default=2,
        ge=1,
        le=17,
        description="Descents side by side; when one ends, another begins from the best of the first soups left.",
    )
    tolerance: float = Field(
        default=1e-4, ge=0, le=1, description="A descent ends when it expects to gain no more, in nats."
    )

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        if self.lower >= self.upper:
            msg = f"lower ({self.lower}) must be less than upper ({self.upper})"
            raise ValueError(msg)
        return self

    def limits(self, space: Space) -> Budget:
        """See ``StrategyRequest``."""
        del space
        return self.budget

    def admits(self, weights: Weights, space: Space) -> bool:
        """See ``StrategyRequest``."""
        inside = all(self.lower - TOLERANCE <= weight <= self.upper + TOLERANCE for weight in weights)
        return weights in space and inside

    def box(self, space: Space) -> Box:
        """Where weights may lie. Raises SearchError when no weights there sum to 1."""
        return Box.within(self.lower, self.upper, space)


class GradientSearch(Strategy):
    """Evaluates the ingredients and the uniform soup, or the nearest soups allowed; then descends from each of them.

    The best goes first, and so many descents go side by side: each generation has the next soup of every one of them,
    and each learns from every soup. A descent ends at its tolerance, or when another has been better within its trust
    region: it would only follow.
    """

    def __init__(self, request: Gradient, space: Space, objectives: Objectives, seed: int) -> None:
        del seed
        self._request = request
        self._objectives = objectives
        self._box = request.box(space)
        self._descents: list[Descent] | None = None
        self._asked: list[tuple[Descent, str]] = []
        self._proposed: list[Weights] = []
        self._found: dict[str, Differentiated | None] = {}

    @property
    def reads_gradients(self) -> bool:
        """See ``Strategy``."""
        return True

    def start_from(self, soups: Generation, outcomes: Sequence[Outcome]) -> None:
        """See ``Strategy``. Descents begin from them too."""
        for soup, outcome in zip(soups, outcomes, strict=True):
            self._found[weights_key(soup.weights)] = self._differentiated(soup.weights, outcome)

    def propose(self) -> Generation | None:
        """See ``Strategy``."""
        if self._descents is None:
            soups = [_weights(point) for point in self._box.nearest(np.array(starts(len(self._box.low))))]
            new = {name: soup for soup in soups if (name := weights_key(soup)) not in self._found}
            if not new:
                self._descents = self._begun()
        if self._descents is not None:
            new = {weights_key(soup): soup for soup in map(_weights, self._steps())}
        self._proposed = list(new.values())[: max(0, self._request.budget.evaluations - len(self._found))]
        return tuple(EvaluationRequest(soup, gradient=True) for soup in self._proposed) or None

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """See ``Strategy``."""
        for soup, outcome in zip(self._proposed, outcomes, strict=True):
            self._found[weights_key(soup)] = self._differentiated(soup, outcome)
        if self._descents is None:
            self._descents = self._begun()
        for descent, name in self._asked:
            if name in self._found:
                descent.learn(self._found[name])

    def _begun(self) -> list[Descent]:
        """A descent from each soup that is known, the best one first."""
        best = sorted(self._known, key=lambda each: each.value)
        return [Descent(self._box, each, self._known, self._request.tolerance) for each in best]

    @property
    def _known(self) -> list[Differentiated]:
        return [each for each in self._found.values() if each is not None]

    def _steps(self) -> list[Array]:
        """The next points (n,) of the first descents that go on, the best start's first."""
        self._asked = []
        points: list[Array] = []
        for descent in self._descents or []:
            point = self._next_of(descent) if len(points) < self._request.descents else None
            if point is not None:
                self._asked.append((descent, weights_key(_weights(point))))
                points.append(point)
        return points

    def _next_of(self, descent: Descent) -> Array | None:
        """The next point (n,) of a descent, None at its end; what is known at a point already, it learns at once."""
        while not self._follows(descent) and (point := descent.propose(self._known)) is not None:
            name = weights_key(_weights(point[0]))
            if name not in self._found:
                return np.asarray(point[0])
            descent.learn(self._found[name])
        return None

    def _follows(self, descent: Descent) -> bool:
        """Whether a better soup, to which it would only lead, lies inside the trust region of a descent."""
        return any(
            other.best.value < descent.best.value
            and np.abs(other.best.point - descent.best.point).max() < descent.radius
            for other in self._descents or []
        )

    def _differentiated(self, soup: Weights, outcome: Outcome) -> Differentiated | None:
        """The mean negative log-likelihood over the sets, in nats, at ``soup``; None where it cannot be followed."""
        value = self._objectives.nll(outcome)
        sets = self._objectives.first.of_sets(outcome.sets)
        if value is None or any(each.gradients is None for each in sets):
            return None
        gradient = -np.mean([each.gradient / each.seen for each in sets], axis=0)
        is_finite = np.isfinite(value) and np.isfinite(gradient).all()
        return Differentiated(np.array([soup]), value, gradient) if is_finite else None


def _weights(point: Array) -> Weights:
    return tuple(float(weight) for weight in point)


def _bound(request: Gradient, space: Space) -> int:
    request.box(space)
    return request.budget.evaluations


KIND = StrategyKind("gradient", Gradient, _bound, GradientSearch)
