"""From what an evaluator measured to what users and strategies see."""

from collections.abc import Sequence
from dataclasses import replace
from typing import TypeVar

from search.evaluation import Evaluation
from search.objectives import Flags, Measure, combine_losses, violation
from search.statistics import PairedComparison, bootstrap_interval, compare
from service.schemas.job import Point, SetScore
from service.schemas.objective import Measured
from service.schemas.request import AdaptRequest
from service.schemas.result import Score
from workers.evaluation import scores
from workers.evaluation.scores import ModelScore, SoupScore

UNION = "union"
T = TypeVar("T")


class Scoring:
    """The objectives and constraints of a request over its sets, whose digests are given in order.

    With ``one_set`` they are measured on whatever set there is, whichever the request names for them.
    """

    def __init__(self, request: AdaptRequest, sets: Sequence[str], *, one_set: bool = False) -> None:
        self._request = request
        self._one_set = one_set
        self._sets = list(sets)
        self._labels = [threat.label for threat in request.threat_models]
        self._objectives = [self._measure(each) for each in request.ranked_by]
        self._constraints = [self._measure(each) for each in request.constraints]
        self._first = self._objectives[0]
        self._metrics = dict(zip(request.metric_names, self._all_measures(), strict=False))

    def of_sets(self, each: Sequence[T]) -> list[T]:
        """Of something for each of the job's sets, that for the sets that the first objective counts."""
        return self._first.of_sets(each)

    def value(self, score: ModelScore) -> float | None:
        """The first objective; None when logits were not finite, or images or attacks are missing."""
        return self._value(self._first, score) if self._is_valid(score) else None

    def nll(self, score: ModelScore) -> float | None:
        """Negative log-likelihood over the first objective's sets without attacks, in nats an image."""
        if not (score.finite and score.complete):
            return None
        return combine_losses([each.nll for each in self.of_sets(score.sets)], self._first.over_sets)

    def metrics(self, score: ModelScore) -> dict[str, float]:
        """With threats: accuracy, robust accuracy under each and under their union; empty where ``value`` is None.

        All of them on the first objective's sets.
        """
        if not self._is_valid(score):
            return {}
        return {name: self._value(measure, score) for name, measure in self._metrics.items()}

    def constraint_values(self, score: ModelScore) -> list[float]:
        """The value of each constraint's measure; empty where ``value`` is None."""
        return [self._value(measure, score) for measure in self._constraints] if self._is_valid(score) else []

    def evaluation(self, score: SoupScore) -> Evaluation:
        """What a strategy learns."""
        return Evaluation(
            score.weights, self.value(score), self.nll(score), self._violation(score), self._named_objectives(score)
        )

    def point(self, score: SoupScore, index: int) -> Point:
        """What the job's list of points shows."""
        return Point(
            index=index,
            weights=list(score.weights),
            score=self.value(score),
            nll=self.nll(score),
            finite=score.finite,
            floored_channels=score.floored_channels,
            images=score.images,
            backward=score.attacks.backward,
            metrics=self.metrics(score),
            objectives=self._named_objectives(score),
            constraints=self.constraint_values(score),
            violation=self._violation(score),
            sets=self._set_scores(score) if self._is_valid(score) else [],
            seconds=score.seconds,
        )

    def document(self, score: ModelScore) -> Score:
        """One model's score in a result, with its interval: 0 without likelihood when its logits were not finite."""
        return Score(
            score=self.value(score) or 0.0,
            nll=self.nll(score),
            interval=self.interval(score),
            metrics=self.metrics(score),
        )

    def per_set(self, score: ModelScore) -> dict[str, Score]:
        """The first objective on each set, also on those that it leaves out.

        Without an interval unless each image's result was kept.
        """
        alone = [ModelScore((each,), score.finite, score.complete) for each in score.sets]
        pairs = zip(self._sets, alone, strict=True)
        return {digest: Scoring(self._request, [digest], one_set=True).document(each) for digest, each in pairs}

    def interval(self, score: ModelScore) -> tuple[float, float] | None:
        """95 % bootstrap interval of the first objective; None where attacks or each image's result are missing."""
        outcomes = self.outcomes(score)
        if not outcomes:
            return None
        first = self._first
        return bootstrap_interval(outcomes, first.over_sets, self._request.seed, over_threats=first.over_threats)

    def compare(self, ours: ModelScore, theirs: ModelScore) -> PairedComparison | None:
        """Two models image by image in the first objective; None where attacks are missing."""
        mine, yours = self.outcomes(ours), self.outcomes(theirs)
        if not (mine and yours):
            return None
        first = self._first
        return compare(mine, yours, first.over_sets, self._request.seed, over_threats=first.over_threats)

    def outcomes(self, score: ModelScore) -> list[Flags]:
        """Of each of its sets, kept in detail, what the first objective counts of each image (``Measure.outcomes``).

        A model whose logits are not finite has nothing right. Empty where attacks are missing.
        """
        kept = [(each.detail.correct, each.robust) for each in self.of_sets(score.sets) if each.detail is not None]
        if not score.finite:
            return [correct[None] & False for correct, _ in kept]
        return [self._first.outcomes(correct, robust) for correct, robust in kept] if self._is_valid(score) else []

    def _is_valid(self, score: ModelScore) -> bool:
        attacked = not self._labels or all(each.robust is not None for each in score.sets)
        return score.finite and score.complete and attacked

    def _value(self, measure: Measure, score: ModelScore) -> float:
        sets = measure.of_sets(score.sets)
        return measure.value([measure.counts(each.correct, each.robust) for each in sets], [each.seen for each in sets])

    def _violation(self, score: ModelScore) -> float:
        if not self._is_valid(score):
            return 0.0
        least = [constraint.at_least for constraint in self._request.constraints]
        return violation(self.constraint_values(score), least)

    def _named_objectives(self, score: ModelScore) -> dict[str, float]:
        names = [each.name for each in self._request.objectives or []]
        if not names or not self._is_valid(score):
            return {}
        return {name: self._value(each, score) for name, each in zip(names, self._objectives, strict=True)}

    def _set_scores(self, score: ModelScore) -> list[SetScore]:
        return [
            SetScore(set=digest, correct=each.correct, images=each.seen, nll=each.nll, robust=self._counts(each))
            for digest, each in zip(self._sets, score.sets, strict=True)
        ]

    def _counts(self, each: scores.SetScore) -> dict[str, int]:
        if each.robust is None:
            return {}
        counts = dict(zip(self._labels, each.robust.sum(axis=1).tolist(), strict=True))
        return counts | ({UNION: int(each.robust.all(axis=0).sum())} if len(counts) > 1 else {})

    def _measure(self, measured: Measured) -> Measure:
        indices = tuple(self._labels.index(threat.label) for threat in measured.threats or [])
        return Measure(indices, measured.over_threats, measured.over_sets, self._places(measured))

    def _places(self, measured: Measured) -> tuple[int, ...] | None:
        named = measured.adaptation_sets
        if named is None or self._one_set:
            return None
        return tuple(place for place, digest in enumerate(self._sets) if digest in named)

    def _all_measures(self) -> list[Measure]:
        """Accuracy, each threat, all threats together: as ``metric_names`` names them."""
        every = tuple(range(len(self._labels)))
        chosen = [(), *((index,) for index in every), every]
        return [replace(self._first, threats=threats, over_threats="union") for threats in chosen]
