"""Numbers read from outcomes: accuracy, likelihood, robustness, constraints and their intervals."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from search.evaluation import Flags, Outcome, SetOutcome, Weights
from search.guards import Alarm, Guard
from search.information import UnlabelledSet
from search.ranking import Evaluation
from search.statistics import OverSets, OverThreats, PairedComparison, bootstrap_interval, compare

Metric = Literal["accuracy", "nll", "mutual_information"]
T = TypeVar("T")


@dataclass(frozen=True)
class Measure:
    """A number for a soup, of which more is better.

    It is accuracy or, with ``threats`` (indices of threat models), accuracy under attack. ``nll`` is the negative
    log-likelihood with its sign reversed: the mean log-probability of the accepted labels, in nats; it has no threats.
    ``mutual_information`` adds to that ``weight`` times the mutual information of the sets ``unlabelled``, in nats; it
    is this alone where ``sets`` is empty.

    ``union`` counts an image if it stays right under every threat. This is decided per image, so it is at most the
    least of their accuracies. ``mean`` and ``worst`` combine the accuracies under the threats. Finally, ``over_sets``
    combines the sets: all of them, or those whose indices are in ``sets``.
    """

    threats: tuple[int, ...] = ()
    over_threats: OverThreats = "union"
    over_sets: OverSets = "mean"
    sets: tuple[int, ...] | None = None
    metric: Metric = "accuracy"
    unlabelled: tuple[UnlabelledSet, ...] = ()
    weight: float = 1.0

    @property
    def reads_logits(self) -> bool:
        """Whether it is read from the logits that outcomes keep."""
        return self.metric == "mutual_information" and self.weight > 0

    def of_sets(self, each: Sequence[T]) -> list[T]:
        """Of ``each``, which has one item per set, the items of the sets that count."""
        return list(each) if self.sets is None else [each[index] for index in self.sets]

    def outcomes(self, each: SetOutcome) -> NDArray[Any]:
        """What counts on one set, of shape (rows, images): one row, or one per threat for ``mean`` and ``worst``.

        It is bool, whether the image is right, or for ``nll`` float64, its log-probability. Raises ValueError if there
        are threats but no outcome of attacks, and for mutual information, which is no mean over images.
        """
        if self.metric == "mutual_information":
            raise ValueError("mutual information is of a set, not of an image")
        if self.metric == "nll":
            if each.log_probability is None:
                raise ValueError("a set without labels has no likelihood: choose an objective that needs no labels")
            return each.log_probability.astype(np.float64)[None]
        return self._rows(each.robust) if self.threats else each.right[None]

    def value(self, sets: Sequence[SetOutcome]) -> float:
        """The measure of a model from its outcomes on all sets. Equal counts give equal values, bit for bit."""
        if self.metric != "accuracy":
            likelihoods = [0.0 - each.nll for each in self.of_sets(sets)]
            likelihood = combine(likelihoods, self.over_sets) if likelihoods or self.metric == "nll" else 0.0
            return likelihood + self._information(sets)
        rows = [self.outcomes(each) for each in self.of_sets(sets)]
        return combine([self._on_set(each.sum(axis=1).tolist(), each.shape[1]) for each in rows], self.over_sets)

    def bound(self, sets: Sequence[SetOutcome]) -> float:
        """The greatest value that a model may have, given its outcomes on the images seen so far.

        It is never less than ``value`` of all images, bit for bit, and equals it once all are seen. An image that no
        attack has reached counts as robust where it is right. Raises ValueError for mutual information, which has none.
        """
        return combine([self._bound_on(each) for each in self.of_sets(sets)], self.over_sets)

    def _bound_on(self, each: SetOutcome) -> float:
        if self.metric == "nll":
            if each.log_probability is None:
                raise ValueError("a set without labels has no likelihood: choose an objective that needs no labels")
            return 0.0 - (0.0 - math.fsum(each.log_probability)) / each.total
        unseen = each.total - each.seen
        rows = self.outcomes(each) if each.robust is not None or not self.threats else each.right[None]
        return self._on_set([int(right) + unseen for right in rows.sum(axis=1)], each.total)

    def _information(self, sets: Sequence[SetOutcome]) -> float:
        if not self.reads_logits:
            return 0.0
        each = [float(one.mutual_information(logits_of(sets[one.place]))) for one in self.unlabelled]
        return self.weight * combine(each, self.over_sets)

    def _rows(self, robust: Flags | None) -> Flags:
        if robust is None:
            raise ValueError("robust accuracy needs the outcome of the attacks")
        chosen = robust[list(self.threats)]
        return np.logical_and.reduce(chosen)[None] if self.over_threats == "union" else chosen

    def _on_set(self, counts: Sequence[int], images: int) -> float:
        return min(counts) / images if self.over_threats == "worst" else sum(counts) / (len(counts) * images)


def logits_of(outcome: SetOutcome) -> NDArray[np.float32]:
    """The logits of a set. Raises ValueError if the outcome does not keep them."""
    if outcome.logits is None:
        raise ValueError("the outcome of a soup lacks its logits: ask for them")
    return outcome.logits


def combine(scores: Sequence[float], over_sets: OverSets = "mean") -> float:
    """The mean over sets (Croce et al., CVPR 2023, Table 1: the single soup) or the worst set's score.

    Every set has the same weight, whatever its number of images. Raises ValueError if there are no scores.
    """
    if not scores:
        raise ValueError("an objective needs the score of at least one set")
    return min(scores) if over_sets == "worst" else sum(scores) / len(scores)


def combine_losses(losses: Sequence[float], over_sets: OverSets = "mean") -> float:
    """As ``combine``, for values of which less is better: the worst is the greatest."""
    return 0.0 - combine([-loss for loss in losses], over_sets)


def violation(values: Sequence[float], least: Sequence[float]) -> float:
    """By how much ``values`` fall short of ``least``, summed and rounded to 1e-9; 0 when all constraints hold."""
    return round(sum(max(0.0, bound - value) for value, bound in zip(values, least, strict=True)), 9)


@dataclass(frozen=True)
class Objectives:
    """What a job ranks soups by: measures in the order of their weight, the first with ties, and constraints.

    ``names`` are those of several objectives, empty for a single one. Each of ``constraints`` is a measure
    and its least allowed value. ``threats`` is the number of attacks in every outcome. ``accepted`` holds for each set
    the labels, bool of shape (images, classes), all False where images have none, or None where labels are not single
    classes of the model. ``seed`` is the bootstrap's. ``top_k`` is how many of the best soups are reported. Soups for
    which one of ``guards`` sounds an alarm rank below all others.
    """

    measures: tuple[Measure, ...] = (Measure(),)
    names: tuple[str, ...] = ()
    constraints: tuple[tuple[Measure, float], ...] = ()
    threats: int = 0
    accepted: tuple[Flags | None, ...] = field(default=(), kw_only=True, compare=False)
    guards: tuple[Guard, ...] = field(default=(), kw_only=True, compare=False)
    seed: int = field(default=0, kw_only=True)
    top_k: int = field(default=1, kw_only=True)

    @property
    def first(self) -> Measure:
        """The measure that is the score."""
        return self.measures[0]

    @property
    def of_accuracy(self) -> "Objectives":
        """Accuracy without attacks, on the labelled sets of the first objective."""
        return Objectives((replace(self.first, metric="accuracy", threats=(), over_threats="union"),), seed=self.seed)

    @property
    def reads_logits(self) -> bool:
        """Whether a measure is read from the logits that outcomes keep."""
        return any(measure.reads_logits for measure in self.measures)

    @property
    def every_measure(self) -> tuple[Measure, ...]:
        """The objectives', then the constraints'."""
        return (*self.measures, *(measure for measure, _ in self.constraints))

    def every_value(self, outcome: Outcome) -> list[float]:
        """The value of every measure. Raises ValueError where images, labels or attacks are missing."""
        return [measure.value(outcome.sets) for measure in self.every_measure]

    def evaluation(self, weights: Weights, outcome: Outcome) -> Evaluation:
        """The soup as it is ranked; it has no score unless its outcome is complete."""
        if not self.is_valid(outcome):
            return Evaluation(weights, None, self.nll(outcome))
        values = [measure.value(outcome.sets) for measure in self.measures]
        return Evaluation(
            weights,
            values[0],
            self.nll(outcome),
            self.shortfall(outcome),
            dict(zip(self.names, values, strict=False)),
        )

    def value(self, outcome: Outcome) -> float | None:
        """The first objective; None when logits were not finite, or images or attacks are missing."""
        return self.first.value(outcome.sets) if self.is_valid(outcome) else None

    def nll(self, outcome: Outcome) -> float | None:
        """Negative log-likelihood over the first objective's sets without attacks, in nats per image.

        None when logits were not finite, and where no image has a label.
        """
        sets = self.first.of_sets(outcome.sets)
        if outcome.status != "complete" or not sets:
            return None
        return combine_losses([each.nll for each in sets], self.first.over_sets)

    def loss(self, outcome: Outcome) -> float | None:
        """What models are compared by before the search, less is better: the likelihood, or what is read from logits.

        None when logits were not finite, or images or attacks are missing.
        """
        if not self.first.reads_logits:
            return self.nll(outcome)
        value = self.value(outcome)
        return None if value is None else 0.0 - value

    def metrics(self, outcome: Outcome) -> list[float]:
        """Accuracy, and robust accuracy under each threat and under their union, on the first objective's sets.

        Empty where ``value`` is None or no image has a label, and where accuracy without threats is all that is
        measured.
        """
        if not self.is_valid(outcome) or not (self.threats or any(each.metric != "accuracy" for each in self.measures)):
            return []
        if not self.first.of_sets(outcome.sets):
            return []
        every = tuple(range(self.threats))
        chosen = [(), *((index,) for index in every), every] if self.threats else [()]
        accuracy = replace(self.first, metric="accuracy", over_threats="union")
        return [replace(accuracy, threats=each).value(outcome.sets) for each in chosen]

    def constraint_values(self, outcome: Outcome) -> list[float]:
        """The value of each constraint's measure; empty where ``value`` is None."""
        return [measure.value(outcome.sets) for measure, _ in self.constraints] if self.is_valid(outcome) else []

    def alarms(self, outcome: Outcome) -> list[Alarm]:
        """The alarms that the guards sound, each once; none where ``value`` is None."""
        return list(self._shortfalls(outcome)) if self.is_valid(outcome) else []

    def shortfall(self, outcome: Outcome) -> float:
        """By how much a valid outcome misses the constraints, and the limits of the guards."""
        values, least = self.constraint_values(outcome), [bound for _, bound in self.constraints]
        return round(violation(values, least) + sum(self._shortfalls(outcome).values()), 9)

    def _shortfalls(self, outcome: Outcome) -> dict[Alarm, float]:
        found: dict[Alarm, float] = {}
        for guard in self.guards:
            for alarm, shortfall in guard.shortfalls(outcome).items():
                found[alarm] = max(shortfall, found.get(alarm, 0.0))
        return found

    def interval(self, outcome: Outcome) -> tuple[float, float] | None:
        """95 % bootstrap interval of the first objective; None for mutual information, or if something is missing."""
        each = self.image_values(outcome)
        if not each:
            return None
        return bootstrap_interval(each, self.first.over_sets, self.seed, over_threats=self.first.over_threats)

    def compare(self, ours: Outcome, theirs: Outcome) -> PairedComparison | None:
        """Two models image by image in the first objective; None for mutual information, or without their images."""
        mine, yours = self.image_values(ours), self.image_values(theirs)
        if not (mine and yours):
            return None
        return compare(mine, yours, self.first.over_sets, self.seed, over_threats=self.first.over_threats)

    def image_values(self, outcome: Outcome) -> list[NDArray[Any]]:
        """For each of its sets, what the first objective counts for each image (``Measure.outcomes``).

        A model whose logits are not finite has nothing right, and no likelihood. Empty where images or attacks are
        missing, and for mutual information, which is no mean over images.
        """
        if self.first.metric == "mutual_information":
            return []
        sets = self.first.of_sets(outcome.sets)
        if outcome.status == "not_finite" and self.first.metric == "accuracy":
            return [each.right[None] & False for each in sets]
        return [self.first.outcomes(each) for each in sets] if self.is_valid(outcome) else []

    def is_valid(self, outcome: Outcome) -> bool:
        """Whether the outcome has everything that the objectives read."""
        attacked = not self.threats or all(each.robust is not None for each in outcome.sets)
        read = not self.reads_logits or all(each.logits is not None for each in outcome.sets)
        return outcome.status == "complete" and attacked and read
