"""``bayes``: a Gaussian process proposes the soups of a lattice from which most is expected."""

import math
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import Field
from scipy.special import ndtr

from search.budget import Budget
from search.evaluation import EvaluationRequest, Flags, Outcome, Weights, weights_key
from search.objectives import Objectives
from search.space import Space
from search.strategy import Generation, LatticeRequest, Strategy, StrategyKind
from search.surrogate import Array, LogitSurrogate, ScoreSurrogate, Surrogate

ENUMERATED = 20_000
"""Lattices with more points are not enumerated: candidates are then found by walks from the best soups."""
KEPT_LOGITS = 20_000
"""Most logits of a soup that are asked for; they are journalled, 4 bytes each."""
LOGITS, LOGITS_ON_WALKS = 10_000, 2_000
"""Most logits of a soup from which candidates are predicted."""
FEWEST = 2
"""Soups that must be known before others are predicted."""
BEGUN, WALKS, WALK_STEPS, CLIMBS, CLIMB_STEPS = 5, 400, 6, 8, 12
"""Soups from which walks begin, walks, steps of each at most, and climbs to the neighbour of which most is expected."""
FINITE_LENGTH = 0.3
"""How far around a soup without finite logits others are likely to have none either, in weight units."""
AUGMENTED = 0.05
"""Share of the sum beside the least term in a weighted Chebyshev norm (Knowles, ParEGO, IEEE TEC 2006)."""


class Bayes(LatticeRequest):
    """Bayesian optimisation on a lattice of affine weights: most of what a grid finds for a fraction of its cost."""

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

    def limits(self, space: Space) -> Budget:
        """See ``StrategyRequest``."""
        del space
        return self.budget


class BayesianSearch(Strategy):
    """Starts from the ingredients and the uniform soup; then each generation has the greatest expected improvement.

    Soups of a generation are chosen one after another, with those before them counted as known (their predicted values
    change nothing but the uncertainty). Several objectives are weighted anew for each soup (ParEGO). With constraints
    the expected improvement is multiplied by the probability that they hold; until a soup holds them, that is all that
    counts. Soups whose logits are not finite make their neighbours unlikely; those for which an alarm sounds are not
    what others must improve on. ``begin`` are other soups to start from.
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
        self._lattice = request.lattice(space)
        self._all = self._lattice.weights() if self._lattice.count() <= ENUMERATED else None
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
        rng = np.random.default_rng([self._seed, len(self._proposed)])
        acquisition = self._acquisition()
        candidates = self._candidates(acquisition, rng)
        prediction = acquisition.predict(candidates)
        chosen: list[int] = []
        for _ in range(min(count, len(candidates))):
            shares = rng.dirichlet(np.ones(len(self._objectives.measures)))
            gains = acquisition.gains(candidates, prediction, candidates[chosen], shares)
            gains[chosen] = -np.inf
            best = int(_rounded(gains).argmax())
            if not chosen and acquisition.in_units(float(gains[best])) < self._request.tolerance:
                break
            chosen.append(best)
        return [_weights(candidates[place]) for place in chosen]

    def _acquisition(self) -> "Acquisition":
        known = [place for place, outcome in enumerate(self._outcomes) if self._objectives.is_valid(outcome)]
        broken = [place for place, outcome in enumerate(self._outcomes) if outcome.status == "not_finite"]
        points = np.array(self._proposed, dtype=np.float64).reshape(-1, len(self._centre))
        outcomes = [self._outcomes[place] for place in known]
        surrogate: Surrogate | None = None
        if len(known) >= FEWEST:
            limit = LOGITS if self._all is not None else LOGITS_ON_WALKS
            surrogate = (
                LogitSurrogate(self._objectives, points[known], outcomes, limit)
                if self._reads_logits
                else ScoreSurrogate(self._objectives, points[known], outcomes)
            )
        alarmed = np.array([bool(self._objectives.alarms(outcome)) for outcome in outcomes], dtype=bool)
        return Acquisition(surrogate, len(self._objectives.measures), points[broken], alarmed)

    def _candidates(self, acquisition: "Acquisition", rng: np.random.Generator) -> Array:
        """Soups not yet proposed: all of them, or those reached from the best by walks and climbs; (candidates, n)."""
        points = self._all if self._all is not None else self._reached(acquisition, rng)
        is_new = [weights_key(_weights(point)) not in self._names for point in points]
        return np.asarray(points[np.array(is_new, dtype=bool)])

    def _reached(self, acquisition: "Acquisition", rng: np.random.Generator) -> Array:
        begun = [
            self._lattice.nearest(weights) for weights in acquisition.best(BEGUN) or self._proposed or [self._centre]
        ]
        walks = [self._walk(begun[int(rng.integers(len(begun)))], rng) for _ in range(WALKS)]
        reached = np.unique(np.array([*begun, *walks]), axis=0)
        shares = np.full(len(self._objectives.measures), 1 / len(self._objectives.measures))

        def gains_of(steps: NDArray[np.intp]) -> Array:
            points = self._lattice.at(steps)
            return acquisition.gains(points, acquisition.predict(points), points[:0], shares)

        tops = reached[np.argsort(-_rounded(gains_of(reached)), kind="stable")[:CLIMBS]]
        for _ in range(CLIMB_STEPS):
            around = np.unique(np.concatenate([tops, *map(self._lattice.neighbours, tops)]), axis=0)
            higher = around[np.argsort(-_rounded(gains_of(around)), kind="stable")[:CLIMBS]]
            reached = np.concatenate([reached, around])
            if np.array_equal(higher, tops):
                break
            tops = higher
        return self._lattice.at(np.unique(reached, axis=0))

    def _walk(self, steps: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
        for _ in range(int(rng.integers(1, WALK_STEPS + 1))):
            around = self._lattice.neighbours(steps)
            steps = around[int(rng.integers(len(around)))] if len(around) else steps
        return steps


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

    def gains(self, points: Array, prediction: Array, pending: Array, shares: Array) -> Array:
        """The expected improvement (q,) at ``points`` with their ``prediction``, soups ``pending`` (p, n) being known.

        Several objectives count by their ``shares``.
        """
        is_finite = self._chance_of_logits(points)
        if self._surrogate is None:
            return np.asarray(is_finite * np.exp(-((points - 1 / points.shape[1]) ** 2).sum(axis=1)))
        deviation = self._surrogate.process.deviation(points, pending)[:, None] * self._surrogate.errors
        count = self._objectives
        holds = ndtr((prediction[:, count:] - self._surrogate.thresholds) / deviation[:, count:]).prod(axis=1)
        if not self._holds.any():
            return np.asarray(is_finite * holds)
        found = self._surrogate.found[self._holds, :count]
        value, error, known = prediction[:, 0], deviation[:, 0], found[:, 0]
        if count > 1:
            low, extent = found.min(axis=0), np.maximum(np.ptp(found, axis=0), 1e-9)
            value, known = (_weighted((each - low) / extent, shares) for each in (prediction[:, :count], found))
            error = np.sqrt(((shares * deviation[:, :count] / extent) ** 2).sum(axis=1))
        ahead = (value - known.max()) / error
        return np.asarray(
            is_finite * holds * error * (ahead * ndtr(ahead) + np.exp(-(ahead**2) / 2) / np.sqrt(2 * np.pi))
        )

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


def _weighted(values: Array, shares: Array) -> Array:
    weighted = values * shares
    return np.asarray(weighted.min(axis=1) + AUGMENTED * weighted.sum(axis=1))


def _rounded(gains: Array) -> Array:
    """To nine digits of the greatest, so that rounding elsewhere decides no ties."""
    greatest = np.abs(gains[np.isfinite(gains)]).max(initial=1e-300)
    return np.asarray(np.round(gains / greatest, 9))


def _weights(point: Array) -> Weights:
    return tuple(float(weight) for weight in point)


def _bound(request: Bayes, space: Space) -> int:
    return min(request.budget.evaluations, request.lattice(space).count() + len(starts(space.size)))


KIND = StrategyKind("bayes", Bayes, _bound, BayesianSearch)
