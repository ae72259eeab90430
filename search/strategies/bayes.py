"""``bayes``: a Gaussian process proposes the soups of a lattice from which most is expected."""

import math
from collections.abc import Sequence
from typing import Any, Literal, Self

import numpy as np
from pydantic import Field, model_serializer, model_validator
from scipy.spatial import KDTree
from scipy.special import ndtr

from search.budget import Budget
from search.candidates import BoxCandidates, Candidates, LatticeCandidates, rounded
from search.descent import Box
from search.evaluation import EvaluationRequest, Flags, Outcome, Weights, weights_key
from search.objectives import Objectives
from search.pareto import expected_improvement
from search.space import Space
from search.strategy import Generation, LatticeRequest, Strategy, StrategyKind
from search.surrogate import Array, LogitSurrogate, ScoreSurrogate, Surrogate

KEPT_LOGITS = 20_000
"""Most logits of a soup that are asked for; they are journalled, 4 bytes each."""
LOGITS, LOGITS_ON_WALKS = 10_000, 2_000
"""Most logits of a soup from which candidates are predicted: all of them, or those reached by walks."""
FEWEST = 2
"""Soups that must be known before others are predicted."""
BEGUN = 5
"""Soups from which walks begin."""
FINITE_LENGTH = 0.3
"""How far around a soup without finite logits others are likely to have none either, in weight units."""


class Bayes(LatticeRequest):
    """Bayesian optimisation, on a lattice of affine weights or off it: most of what a grid finds for a fraction."""

    strategy: Literal["bayes"] = "bayes"
    budget: Budget = Field(default=Budget(), description="When to stop at the latest.")
    batch: int = Field(
        default=4,
        ge=1,
        le=64,
        description="Soups proposed at once: more keep more evaluators busy, but each learns less.",
    )
    tolerance: float = Field(
        default=1e-4,
        ge=0,
        le=1,
        description="Stop when no soup is expected to gain more: a share of images, or nats for nll.",
    )
    continuous: bool = Field(
        default=False, description="Any weights within the limits, rather than those of a lattice: there is no step."
    )

    @model_validator(mode="after")
    def _steps_on_a_lattice(self) -> Self:
        if self.continuous and "step" in self.model_fields_set:
            msg = (
                "a continuous search takes no step, because its soups lie on no lattice: leave out step, or continuous"
            )
            raise ValueError(msg)
        return self

    # A return type, as of a function with annotations, would stand in the JSON schema in place of the fields.
    _dumped = model_serializer(mode="wrap")(lambda self, dump: self._without_step(dump(self)))

    def _without_step(self, fields: dict[str, Any]) -> dict[str, Any]:
        return {name: value for name, value in fields.items() if not (self.continuous and name == "step")}

    def limits(self, space: Space) -> Budget:
        """See ``StrategyRequest``."""
        del space
        return self.budget

    def box(self, space: Space) -> Box:
        """Where weights may lie that need not lie on a lattice. Raises SearchError when none there sum to 1."""
        return Box.within(*self.reach, space)


class BayesianSearch(Strategy):
    """Starts from the ingredients and the uniform soup; then each generation has the greatest expected improvement.

    Soups of a generation are chosen one after another, with those before them counted as known (their predicted values
    change nothing but the uncertainty). With several objectives it is the front's hypervolume that is to improve, and
    the predicted values count too. With constraints the expected improvement is multiplied by the probability that they
    hold; until a soup holds them, that is all that counts. Soups whose logits are not finite make their neighbours
    unlikely; those for which an alarm sounds are not what others must improve on. ``begin`` are other soups to start
    from.
    """

    def __init__(
        self,
        request: Bayes,
        space: Space,
        objectives: Objectives,
        seed: int,
        begin: Sequence[Weights] | None = None,
    ) -> None:
        self._request = request
        self._objectives = objectives
        self._seed = seed
        self._candidates: Candidates = (
            BoxCandidates(request.box(space)) if request.continuous else LatticeCandidates(request.lattice(space))
        )
        self._reads_logits = logits_tell_all(objectives)
        self._proposed: list[Weights] = []
        self._names: set[str] = set()
        self._outcomes: list[Outcome] = []
        self._centre = (1 / space.size,) * space.size
        self._starts = list(begin or [start for start in starts(space.size) if request.admits(start, space)])

    @property
    def reads_logits(self) -> bool:
        """See ``Strategy``."""
        return self._reads_logits

    def start_from(self, soups: Generation, outcomes: Sequence[Outcome]) -> None:
        """See ``Strategy``. They count as if they had been proposed."""
        self._note([soup.weights for soup in soups])
        self.learn(outcomes)

    def propose(self) -> Generation | None:
        """See ``Strategy``."""
        left = self._request.budget.evaluations - len(self._proposed)
        soups = [soup for soup in self._starts if weights_key(soup) not in self._names][: max(left, 0)]
        self._starts = []
        if not soups and left > 0:
            soups = self._best_candidates(min(self._request.batch, left))
        self._note(soups)
        return tuple(EvaluationRequest(soup, keep_logits=self._reads_logits) for soup in soups) or None

    def _note(self, soups: Sequence[Weights]) -> None:
        self._proposed += soups
        self._names |= {weights_key(soup) for soup in soups}

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        """See ``Strategy``."""
        self._outcomes += outcomes

    def forecast(self, weights: Array) -> tuple[Array, Array]:
        """What is expected of soups of ``weights`` (q, n): the first objective and the violation of constraints, (q,).

        Both are in the process's own units, and zero while too few soups are known.
        """
        return self._acquisition().forecast(weights)

    def _best_candidates(self, count: int) -> list[Weights]:
        acquisition = self._acquisition()
        candidates = self._new_candidates(acquisition)
        prediction = acquisition.predict(candidates)
        chosen: list[int] = []
        is_new = np.ones(len(candidates), dtype=bool)
        while len(chosen) < count and is_new.any():
            gains = np.where(is_new, acquisition.gains(candidates, prediction, chosen), -np.inf)
            best = int(rounded(gains).argmax())
            if not chosen and acquisition.in_units(float(gains[best])) < self._request.tolerance:
                break
            chosen.append(best)
            is_new &= self._are_apart(candidates, candidates[[best]])
        return [_weights(candidates[place]) for place in chosen]

    def _new_candidates(self, acquisition: "Acquisition") -> Array:
        """Soups not yet proposed, (candidates, n)."""
        rng = np.random.default_rng([self._seed, len(self._proposed)])
        begun = acquisition.best(BEGUN) or self._proposed or [self._centre]
        points = self._candidates.reached(
            begun, lambda points: acquisition.gains(points, acquisition.predict(points)), rng
        )
        return points[self._are_apart(points, self._points)] if self._proposed else points

    def _are_apart(self, points: Array, others: Array) -> Flags:
        """Which of ``points`` (q, n) are none of the ``others`` (p, n), nor too close to one to count as new."""
        return np.asarray(KDTree(others).query(points, p=np.inf)[0] > self._candidates.apart)

    @property
    def _points(self) -> Array:
        """The soups proposed, (p, n)."""
        return np.array(self._proposed, dtype=np.float64).reshape(-1, len(self._centre))

    def _acquisition(self) -> "Acquisition":
        known = [place for place, outcome in enumerate(self._outcomes) if self._objectives.is_valid(outcome)]
        broken = [place for place, outcome in enumerate(self._outcomes) if outcome.status == "not_finite"]
        points = self._points
        outcomes = [self._outcomes[place] for place in known]
        surrogate: Surrogate | None = None
        if len(known) >= FEWEST:
            limit = LOGITS if self._candidates.are_all else LOGITS_ON_WALKS
            surrogate = (
                LogitSurrogate(self._objectives, points[known], outcomes, limit)
                if self._reads_logits
                else ScoreSurrogate(self._objectives, points[known], outcomes)
            )
        alarmed = np.array([bool(self._objectives.alarms(outcome)) for outcome in outcomes], dtype=bool)
        return Acquisition(surrogate, len(self._objectives.measures), points[broken], alarmed)


class Acquisition:
    """What is expected of soups: by ``surrogate``, or without one by their closeness to the uniform soup.

    ``objectives`` is how many of its measures are objectives, ``broken`` (b, n) are soups whose logits are not finite,
    ``alarmed`` (n,) says for which of the soups that it knows an alarm sounds.
    """

    def __init__(self, surrogate: Surrogate | None, objectives: int, broken: Array, alarmed: Flags) -> None:
        self._surrogate = surrogate
        self._objectives = objectives
        self._broken = broken
        self._holds: Flags = np.ones(0, dtype=bool)
        if surrogate is not None:
            holds = (surrogate.found[:, objectives:] >= surrogate.thresholds - 1e-9).all(axis=1)
            self._holds = np.asarray(holds & ~alarmed)

    def predict(self, points: Array) -> Array:
        """The measures at ``points`` (q, n), shape (q, k)."""
        return np.zeros((len(points), 0)) if self._surrogate is None else self._surrogate.predict(points)

    def forecast(self, points: Array) -> tuple[Array, Array]:
        """See ``BayesianSearch``."""
        if self._surrogate is None:
            return np.zeros(len(points)), np.zeros(len(points))
        prediction = self._surrogate.predict(points)
        short = np.maximum(0.0, self._surrogate.thresholds - prediction[:, self._objectives :])
        return prediction[:, 0], short.sum(axis=1)

    def gains(self, points: Array, prediction: Array, pending: Sequence[int] = ()) -> Array:
        """The expected improvement (q,) at ``points`` with their ``prediction``, those at ``pending`` being known."""
        is_finite = self._chance_of_logits(points)
        if self._surrogate is None:
            return np.asarray(is_finite * np.exp(-((points - 1 / points.shape[1]) ** 2).sum(axis=1)))
        waiting = list(pending)
        deviation = self._surrogate.process.deviation(points, points[waiting])[:, None] * self._surrogate.errors
        count, thresholds = self._objectives, self._surrogate.thresholds
        holds = ndtr((prediction[:, count:] - thresholds) / deviation[:, count:]).prod(axis=1)
        if not self._holds.any():
            return np.asarray(is_finite * holds)
        known = self._surrogate.found[self._holds, :count]
        reference = known.min(axis=0)
        if count > 1:
            believed = prediction[waiting]
            known = np.concatenate([known, believed[(believed[:, count:] >= thresholds).all(axis=1), :count]])
        improvement = expected_improvement(known, reference, prediction[:, :count], deviation[:, :count])
        return np.asarray(is_finite * holds * improvement)

    def in_units(self, gain: float) -> float:
        """``gain`` in units of the objective; infinite where it is no improvement of a single objective."""
        is_improvement = self._surrogate is not None and self._objectives == 1 and bool(self._holds.any())
        return gain * self._surrogate.unit if is_improvement and self._surrogate is not None else math.inf

    def best(self, count: int) -> list[Weights]:
        """At most ``count`` soups known to be best in the first objective, those that hold the constraints first."""
        if self._surrogate is None:
            return []
        order = np.lexsort((-self._surrogate.found[:, 0], ~self._holds))
        return [_weights(point) for point in self._surrogate.process.points[order[:count]]]

    def _chance_of_logits(self, points: Array) -> Array:
        """How likely logits are finite (q,)."""
        squares = ((points[:, None] - self._broken[None]) ** 2).sum(axis=2)
        return np.asarray((1 - np.exp(-squares / (2 * FINITE_LENGTH**2))).prod(axis=1))


def logits_tell_all(objectives: Objectives) -> bool:
    """Whether logits tell all that ``objectives`` measure, and are few enough to keep for every soup.

    They are kept however many they are where an objective itself is read from them.
    """
    sizes = [None if labels is None else labels.size for labels in objectives.accepted]
    known = [size for size in sizes if size is not None]
    are_few = objectives.reads_logits or sum(known) <= KEPT_LOGITS
    return not objectives.threats and 0 < len(known) == len(sizes) and are_few


def starts(size: int) -> list[Weights]:
    """The ingredients and the uniform soup."""
    return [*(_weights(row) for row in np.eye(size)), (1 / size,) * size]


def _weights(point: Array) -> Weights:
    return tuple(float(weight) for weight in point)


def _bound(request: Bayes, space: Space) -> int:
    if request.continuous:
        request.box(space)
        return request.budget.evaluations
    return min(request.budget.evaluations, request.lattice(space).count() + len(starts(space.size)))


KIND = StrategyKind("bayes", Bayes, _bound, BayesianSearch)
