"""Dropping soups before they have seen all images: the bars that they must clear, and the order of images and soups."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import bdtrc, logsumexp, stdtr

from search.evaluation import Bar, Outcome, SetOutcome, Weights
from search.objectives import Measure, Objectives, violation
from search.ranking import Evaluation, rank

Array = NDArray[np.float64]
LOOKS = 16
"""How often a soup that sees every image may be dropped on the way, at most."""
LEAST_STEP, MOST_STEP = 8, 256
"""Images between two looks. Fewer cost time where batches are small, more cost images."""


@dataclass(frozen=True)
class ExactBar(Bar):
    """Drops a soup only when it can be neither among the best nor on the Pareto front, whatever the other images say.

    ``measures`` are the objectives', then the constraints', of which ``least`` are the least allowed values. ``best``
    holds the violation and score of the last of the best soups so far, None while they are too few. ``front`` holds the
    violation and all objectives of the soups of the front, empty with a single objective.
    """

    measures: tuple[Measure, ...]
    least: tuple[float, ...]
    best: tuple[float, float] | None
    front: tuple[tuple[float, tuple[float, ...]], ...] = ()

    def drops(self, sets: Sequence[SetOutcome]) -> bool:
        """See ``Bar``. Ties are kept: other rules break them."""
        if self.best is None:
            return False
        bounds = [measure.bound(sets) for measure in self.measures]
        objectives = bounds[: len(bounds) - len(self.least)]
        violated = violation(bounds[len(objectives) :], self.least)
        if (violated, -objectives[0]) <= (self.best[0], -self.best[1]):
            return False
        return not self.front or any(
            worst < violated or (worst == violated and _dominates(values, objectives)) for worst, values in self.front
        )


def _dominates(ours: Sequence[float], theirs: Sequence[float]) -> bool:
    pairs = list(zip(ours, theirs, strict=True))
    return all(mine >= yours for mine, yours in pairs) and any(mine > yours for mine, yours in pairs)


class ExactPruning:
    """The bar of a search that reports the best ``objectives.top_k`` soups and, of several objectives, the front."""

    def __init__(self, objectives: Objectives) -> None:
        self._objectives = objectives
        self._best: list[Evaluation] = []
        self._front: list[Evaluation] = []

    def learn(self, weights: Weights, outcome: Outcome) -> None:
        """Raise the bar by a soup that has seen all images; any other changes nothing."""
        evaluation = self._objectives.evaluation(weights, outcome)
        if evaluation.score is None:
            return
        others = [each for each in self._best if each.weights != weights]
        self._best = rank([*others, evaluation])[: self._objectives.top_k]
        if len(self._objectives.measures) > 1:
            self._front = _front([*(each for each in self._front if each.weights != weights), evaluation])

    @property
    def bar(self) -> ExactBar:
        """What soups must be able to reach now."""
        is_full = len(self._best) == self._objectives.top_k
        last = self._best[-1] if is_full else None
        return ExactBar(
            self._objectives.every_measure,
            tuple(least for _, least in self._objectives.constraints),
            None if last is None or last.score is None else (last.violation, last.score),
            tuple((each.violation, tuple(each.objectives.values())) for each in self._front),
        )


def _front(soups: Sequence[Evaluation]) -> list[Evaluation]:
    least = min(each.violation for each in soups)
    kept = [each for each in soups if each.violation == least]
    values = [tuple(each.objectives.values()) for each in kept]
    return [soup for soup, own in zip(kept, values, strict=True) if not any(_dominates(other, own) for other in values)]


@dataclass(frozen=True, eq=False)
class RaceBar(Bar):
    """Drops a soup that a one-sided paired test finds worse than ``leader`` at the level ``p`` (not exact).

    ``leader`` holds what ``measure`` counts for each image of its sets, (rows, images), in the order of the visit.
    Right and wrong answers are compared by the sign test (McNemar's, exact); likelihoods, and means over threats, by
    Student's t-test. Images of all sets count alike. As in F-race (Birattari et al., GECCO 2002), looks are many and
    nothing corrects for that.
    """

    measure: Measure
    leader: tuple[NDArray[Any], ...]
    p: float

    def drops(self, sets: Sequence[SetOutcome]) -> bool:
        """See ``Bar``."""
        chosen = self.measure.of_sets(sets)
        if self.measure.threats and any(each.robust is None for each in chosen):
            return False
        theirs = np.concatenate([self.measure.outcomes(each) for each in chosen], axis=1)
        pairs = zip(self.leader, chosen, strict=True)
        ours = np.concatenate([whole[:, : each.seen] for whole, each in pairs], axis=1)
        if theirs.dtype == np.bool_ and len(theirs) == 1:
            lost, won = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
            return lost > 0 and bool(bdtrc(lost - 1, lost + won, 0.5) < self.p)
        return _is_less(theirs.mean(axis=0) - ours.mean(axis=0), self.p)


def _is_less(differences: Array, p: float) -> bool:
    """Whether the mean of ``differences`` is below zero at the level ``p``, by a one-sided t-test."""
    if len(differences) < LEAST_STEP or not np.isfinite(differences).all():
        return len(differences) >= LEAST_STEP and bool((differences == -np.inf).any())
    deviation = float(differences.std(ddof=1))
    if deviation == 0.0:
        return False
    return bool(stdtr(len(differences) - 1, differences.mean() / (deviation / np.sqrt(len(differences)))) < p)


class Forecast:
    """On which images soups are expected to fail, from the outcomes of a few that span all others.

    ``soups`` is float64 (m, n), ``outcomes`` are theirs on all images. Where logits and labels are known, a soup is
    taken for the ensemble that averages logits as the soup averages weights, which it equals to first order (Wortsman
    et al., ICML 2022, section 4); elsewhere what counts for an image is averaged. Outcomes that are not valid say
    nothing.
    """

    def __init__(self, objectives: Objectives, soups: Array, outcomes: Sequence[Outcome]) -> None:
        valid = [place for place, outcome in enumerate(outcomes) if objectives.is_valid(outcome)]
        self._objectives = objectives
        self._outcomes = [outcomes[place] for place in valid]
        self._inverse = np.linalg.pinv(soups[valid]) if valid else np.zeros((soups.shape[1], 0))
        self.sizes = [each.total for each in outcomes[0].sets]
        every = range(len(self.sizes))
        measured = [every if each.sets is None else each.sets for each in objectives.every_measure]
        self.idle = frozenset(every).difference(*measured)
        """Sets that nothing is measured on."""

    def hardest_first(self, weights: Weights) -> list[NDArray[np.intp]]:
        """The images of each set in the order in which the soup is expected to fail on them."""
        shares = np.array(weights) @ self._inverse
        return [
            np.arange(size)
            if index in self.idle or not self._outcomes
            else np.argsort(self._chances(self._objectives.first, index, shares), kind="stable")
            for index, size in enumerate(self.sizes)
        ]

    def _chances(self, measure: Measure, index: int, shares: Array) -> Array:
        """For each image of a set a number that grows with its chances, (images,)."""
        parts = [outcome.sets[index] for outcome in self._outcomes]
        accepted = self._objectives.accepted[index] if self._objectives.accepted else None
        if accepted is None or measure.threats or any(part.logits is None for part in parts):
            return np.asarray(shares @ np.stack([measure.outcomes(part).mean(axis=0) for part in parts]))
        mixed = np.tensordot(shares, np.stack([np.asarray(part.logits, dtype=np.float64) for part in parts]), 1)
        right = np.where(accepted, mixed, -np.inf)
        if measure.metric == "nll":
            return np.asarray(logsumexp(right, axis=1) - logsumexp(mixed, axis=1))
        return np.asarray(right.max(axis=1) - np.where(accepted, -np.inf, mixed).max(axis=1))


def steps_of(
    order: Sequence[NDArray[np.intp]], first: float = 0.0, idle: Collection[int] = ()
) -> tuple[tuple[int, tuple[int, ...]], ...]:
    """The steps of a visit that sees the images of each set in ``order``.

    Sets take turns, so that each is seen in proportion to its size; those whose index is in ``idle`` come last. There
    is no look before the share ``first`` of the images and one more.
    """
    steps: list[tuple[float, int, tuple[int, ...]]] = []
    for index, rows in enumerate(order):
        size = min(max(-(-len(rows) // LOOKS), LEAST_STEP), MOST_STEP)
        begin = 0
        while begin < len(rows):
            alone = int(first * len(rows)) + 1 - begin if first else 0
            end = min(begin + (min(alone, MOST_STEP) if alone > 0 else size), len(rows))
            place = (index in idle) + (begin + end) / (2 * len(rows))
            steps.append((place, index, tuple(map(int, rows[begin:end]))))
            begin = end
    return tuple((index, rows) for _, index, rows in sorted(steps, key=lambda step: step[:2]))
