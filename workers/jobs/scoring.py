"""Turns outcomes into the documents that users see."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType
from typing import Literal, TypeVar

import numpy as np

from search.evaluation import PLAIN, Flags, Outcome, Refinement, SetOutcome, Weights
from search.guards import guards_of
from search.information import UnlabelledSet, weight_beside
from search.objectives import Measure, Metric, Objectives
from service.adaptation_sets.labels import Labels, prior_of
from service.schemas.job import Point, SetScore
from service.schemas.objective import Measured
from service.schemas.request import AdaptRequest
from service.schemas.result import AccuracyTest, PairedTest, Score

UNION = "union"
_LEAST_LIKELIHOOD = float(np.log(np.finfo(np.float32).tiny))
T = TypeVar("T")


class Scoring:
    """The objectives of a request over its sets, whose digests are given in order, and documents made with them.

    A digest is given twice where a set's labelled images and the others are sets of their own, see ``SetMaterial``;
    ``unlabelled`` holds the columns of the latter by their places, and ``images`` the number of images of each set.
    ``accepted`` are the labels, see ``Objectives``. With ``one_set`` they are measured on the only set, whichever sets
    the request names for them.
    """

    def __init__(
        self,
        request: AdaptRequest,
        sets: Sequence[str],
        *,
        unlabelled: Mapping[int, Labels] = MappingProxyType({}),
        images: Sequence[int] = (),
        accepted: Sequence[Flags | None] = (),
        one_set: bool = False,
    ) -> None:
        self._request = request
        self._one_set = one_set
        self._sets = list(sets)
        self._unlabelled = unlabelled
        self._images = images
        self._accepted = tuple(accepted)
        self._labels = [threat.label for threat in request.threat_models]
        self.objectives = Objectives(
            tuple(self._measure(each) for each in request.ranked_by),
            tuple(each.name for each in request.objectives or []),
            tuple((self._measure(each), each.at_least) for each in request.constraints),
            threats=len(self._labels),
            accepted=tuple(accepted),
            seed=request.seed,
            top_k=request.top_k,
        )

    def score(self, outcome: Outcome) -> float:
        """The first objective; nothing right, or a float32's least likelihood, where logits were not finite."""
        value = self.objectives.value(outcome)
        if value is None:
            return 0.0 if self.objectives.first.metric == "accuracy" else _LEAST_LIKELIHOOD
        return value

    def guard(self, ingredients: Sequence[Outcome]) -> None:
        """Compare soups that are chosen without labels with the ingredients, whose outcomes keep their logits."""
        unlabelled = [
            each for measure in self.objectives.measures if measure.reads_logits for each in measure.unlabelled
        ]
        once = {each.place: each for each in unlabelled}
        self.objectives = replace(self.objectives, guards=guards_of(list(once.values()), ingredients))

    def of_sets(self, each: Sequence[T]) -> list[T]:
        """Of ``each``, which has one item per set of the job, the items of the sets that the first objective counts."""
        return self.objectives.first.of_sets(each)

    def metrics(self, outcome: Outcome) -> dict[str, float]:
        """Accuracy, and robust accuracy under each threat and under their union, as the request names them."""
        return dict(zip(self._request.metric_names, self.objectives.metrics(outcome), strict=False))

    def point(
        self,
        weights: Weights,
        outcome: Outcome,
        index: int,
        refinement: Refinement = PLAIN,
    ) -> Point:
        """A soup, scored after ``refinement``, as the job's list of points shows it."""
        evaluation = self.objectives.evaluation(weights, outcome)
        return Point(
            index=index,
            weights=list(weights),
            score=evaluation.score,
            nll=evaluation.nll,
            finite=outcome.status != "not_finite",
            floored_channels=outcome.floored_channels,
            pruned=outcome.status == "pruned",
            images=outcome.passes.forward,
            backward=outcome.passes.backward,
            metrics=self.metrics(outcome),
            objectives=dict(evaluation.objectives),
            constraints=self.objectives.constraint_values(outcome),
            violation=evaluation.violation,
            alarms=self.objectives.alarms(outcome),
            sets=self._set_scores(outcome) if evaluation.score is not None else [],
            seconds=outcome.seconds,
            refinement=refinement,
        )

    def document(self, outcome: Outcome) -> Score:
        """One model's score in a result, with its interval."""
        return Score(
            score=self.score(outcome),
            nll=self.objectives.nll(outcome),
            interval=self.objectives.interval(outcome),
            metrics=self.metrics(outcome),
        )

    def paired_test(self, ours: Outcome, theirs: Outcome, against: str) -> PairedTest | None:
        """The soup compared with the ingredient ``against``; None where one of the two has no score."""
        test = self.objectives.compare(ours, theirs)
        if test is None:
            return None
        found = PairedTest(against=against, difference=test.difference, interval=test.interval, p_value=test.p_value)
        is_nll = self.objectives.first.metric == "nll"
        by_accuracy = self.objectives.of_accuracy.compare(ours, theirs) if is_nll else None
        if by_accuracy is None or by_accuracy.p_value is None:
            return found
        accuracy = AccuracyTest(
            difference=by_accuracy.difference, interval=by_accuracy.interval, p_value=by_accuracy.p_value
        )
        return found.model_copy(update={"accuracy": accuracy})

    def per_set(self, outcome: Outcome) -> dict[str, Score]:
        """The first objective on the labelled images of each set, also of those that it leaves out."""
        return {
            digest: Scoring(self._request, [digest], one_set=True).document(Outcome(outcome.status, (each,)))
            for digest, each in self._labelled(outcome)
        }

    def _set_scores(self, outcome: Outcome) -> list[SetScore]:
        return [
            SetScore(
                set=digest, correct=int(each.right.sum()), images=each.seen, nll=each.nll, robust=self._counts(each)
            )
            for digest, each in self._labelled(outcome)
        ]

    def _labelled(self, outcome: Outcome) -> list[tuple[str, SetOutcome]]:
        """The outcome on each set of labelled images, with its digest."""
        pairs = zip(self._sets, outcome.sets, strict=True)
        return [pair for place, pair in enumerate(pairs) if place not in self._unlabelled]

    def _counts(self, each: SetOutcome) -> dict[str, int]:
        if each.robust is None:
            return {}
        counts = dict(zip(self._labels, each.robust.sum(axis=1).tolist(), strict=True))
        return counts | ({UNION: int(each.robust.all(axis=0).sum())} if len(counts) > 1 else {})

    def _measure(self, measured: Measured) -> Measure:
        indices = tuple(self._labels.index(threat.label) for threat in measured.threats or [])
        places = self._places(measured)
        metric: Metric = "accuracy" if measured.metric in {"accuracy", "robust_accuracy"} else "nll"
        plain = Measure(indices, measured.over_threats, measured.over_sets, places, metric)
        unlabelled = self._unlabelled_sets(measured) if measured.metric == "mutual_information" else ()
        if not unlabelled:
            return plain
        weight = weight_beside(sum(self._images[place] for place in places or ()))
        if not weight:
            return plain
        return replace(plain, metric="mutual_information", unlabelled=unlabelled, weight=weight)

    def _places(self, measured: Measured) -> tuple[int, ...] | None:
        """The places of the labelled images that count; None for all images."""
        if self._one_set or (measured.adaptation_sets is None and not self._unlabelled):
            return None
        return tuple(place for place in self._named(measured) if place not in self._unlabelled)

    def _unlabelled_sets(self, measured: Measured) -> tuple[UnlabelledSet, ...]:
        return tuple(
            UnlabelledSet(place, *self._columns(place, measured.prior))
            for place in self._named(measured)
            if place in self._unlabelled
        )

    def _columns(
        self, place: int, prior: Literal["uniform"] | Mapping[str, float] | None
    ) -> tuple[tuple[tuple[int, ...], ...] | None, tuple[float, ...] | None]:
        """The columns of a set without labels, None where they are the model's classes, and their prior."""
        labels = self._unlabelled[place]
        columns = labels.columns if self._accepted[place] is None else None
        return columns, None if prior is None or isinstance(prior, str) else prior_of(prior, labels)

    def _named(self, measured: Measured) -> list[int]:
        named = measured.adaptation_sets
        return [place for place, digest in enumerate(self._sets) if named is None or digest in named]
