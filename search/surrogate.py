"""What a few evaluated soups say about all others: Gaussian processes over soup weights."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp, ndtr

from search.evaluation import Flags, Outcome
from search.objectives import Measure, Objectives, logits_of

Array = NDArray[np.float64]
_GAUSSIAN_MEDIAN = 1.4826
"""A normal variable's standard deviation in units of the median of its size."""


@dataclass(frozen=True)
class Kernel:
    """k(w, v) = exp(-|w - v|^2 / (2 length^2)) + slope (1 + <w, v>), with ``noise`` added on the diagonal.

    The second term is a Gaussian prior over linear functions of the weights.
    """

    length: float
    slope: float
    noise: float

    def between(self, first: Array, second: Array) -> Array:
        """The kernel without noise of every row of ``first`` with every row of ``second``."""
        squares = (first**2).sum(axis=1)[:, None] + (second**2).sum(axis=1) - 2 * first @ second.T
        near = np.exp(-np.maximum(squares, 0.0) / (2 * self.length**2))
        return np.asarray(near + self.slope * (1 + first @ second.T))

    def alone(self, points: Array) -> Array:
        """The kernel without noise of each row with itself."""
        return np.asarray(1 + self.slope * (1 + (points**2).sum(axis=1)))


def ladder(lengths: Sequence[float], slopes: Sequence[float], noises: Sequence[float]) -> list[Kernel]:
    """Every combination."""
    return [Kernel(*each) for each in product(lengths, slopes, noises)]


class GaussianProcess:
    """Regression of ``responses`` (n, m) on ``points`` (n, d) with one kernel for all m responses and a zero mean.

    Of ``kernels`` the one with the greatest marginal likelihood is taken, with the responses' common variance at its
    maximum (Rasmussen and Williams, Gaussian Processes for Machine Learning, 2006, sections 2.2 and 5.4).
    """

    def __init__(self, points: Array, responses: Array, kernels: Sequence[Kernel]) -> None:
        self.points = points
        self.responses = responses
        products = responses @ responses.T
        self.kernel = max(kernels, key=lambda kernel: self._log_likelihood(kernel, products))
        self._inverse = np.linalg.inv(self._covariance(self.kernel, points))
        self._coefficients = self._inverse @ responses

    def mean(self, points: Array) -> Array:
        """The posterior means at ``points`` (q, d), shape (q, m)."""
        return self.kernel.between(points, self.points) @ self._coefficients

    def deviation(self, points: Array, pending: Array | None = None) -> Array:
        """The posterior standard deviation at ``points`` for a kernel of unit scale, shape (q,).

        It depends on where responses are known, not on what they are; ``pending`` (p, d) counts as known too.
        """
        known, inverse = self.points, self._inverse
        if pending is not None and len(pending):
            known = np.concatenate([known, pending])
            inverse = np.linalg.inv(self._covariance(self.kernel, known))
        cross = self.kernel.between(points, known)
        variance = self.kernel.alone(points) - ((cross @ inverse) * cross).sum(axis=1)
        return np.asarray(np.sqrt(np.maximum(variance, 1e-12)))

    @cached_property
    def left_out(self) -> tuple[Array, Array]:
        """At each point what the others predict: means (n, m) and deviations (n,), as above (ibid., 5.4.2)."""
        precision = np.diag(self._inverse)
        return self.responses - self._coefficients / precision[:, None], np.sqrt(1 / precision)

    @cached_property
    def scales(self) -> Array:
        """The standard deviation of each response by which ``deviation`` is multiplied, shape (m,), by likelihood."""
        return np.asarray(np.sqrt((self.responses * self._coefficients).sum(axis=0) / len(self.points)))

    def _covariance(self, kernel: Kernel, points: Array) -> Array:
        return kernel.between(points, points) + kernel.noise * np.eye(len(points))

    def _log_likelihood(self, kernel: Kernel, products: Array) -> float:
        """Of all responses up to a constant, from their ``products`` (n, n)."""
        covariance = self._covariance(kernel, self.points)
        count, responses = self.responses.shape
        variance = max(float(np.trace(np.linalg.solve(covariance, products))) / (count * responses), 1e-300)
        return float(-0.5 * responses * (count * np.log(variance) + np.linalg.slogdet(covariance)[1]))


class Surrogate(ABC):
    """Predicts the measures of a job, objectives first and then constraints, at soups not yet evaluated.

    Where a measure was found it is in ``found`` (n, k), in the surrogate's own units, of which more is better.
    ``thresholds`` has the least value of each constraint in those units. A prediction is wrong by about ``errors`` (k,)
    times the ``deviation`` of ``process``. ``unit`` is the size of one such unit of the first objective near its best.
    """

    process: GaussianProcess
    found: Array
    errors: Array
    thresholds: Array
    unit: float

    @abstractmethod
    def predict(self, points: Array) -> Array:
        """The measures at soup weights ``points`` (q, d), shape (q, k)."""


class ScoreSurrogate(Surrogate):
    """A Gaussian process on the measures themselves; likelihoods on a logarithmic scale, and all in standard units.

    Known by experience: the length scale is about one in weight units.
    """

    KERNELS = ladder((1.0, 1.4), (0.0,), (0.01,))

    def __init__(self, objectives: Objectives, points: Array, outcomes: Sequence[Outcome]) -> None:
        self._is_nll = np.array([measure.metric == "nll" for measure in objectives.every_measure])
        values = np.array([objectives.every_value(outcome) for outcome in outcomes])
        raw = self._scaled(values)
        self._centre, self._spread = raw.mean(axis=0), np.where(np.ptp(raw, axis=0) > 0, raw.std(axis=0), 1.0)
        self.found = (raw - self._centre) / self._spread
        least = np.array([0.0] * len(objectives.measures) + [least for _, least in objectives.constraints])
        self.thresholds = ((least - self._centre) / self._spread)[len(objectives.measures) :]
        self.process = GaussianProcess(points, self.found, self.KERNELS)
        self.errors = np.maximum(self.process.scales, 1e-9)
        self.unit = float(self._spread[0] * (-values[:, 0].max() if self._is_nll[0] else 1.0))

    def predict(self, points: Array) -> Array:
        """See ``Surrogate``."""
        return self.process.mean(points)

    def _scaled(self, values: Array) -> Array:
        """Likelihoods are at most 0."""
        return np.where(self._is_nll, -np.log(np.maximum(-values, 1e-6)), values)


class LogitSurrogate(Surrogate):
    """A Gaussian process on every image's logits, from which the measures are read by a softmax.

    Logits are nearly linear in the weights, much more so than what is read from them. The size of its errors is found
    by leaving out one soup at a time. Images are thinned to ``limit`` logits in all. Mutual information is that of the
    expected logits.

    Raises ValueError if an outcome has no logits.
    """

    KERNELS = ladder((0.5, 0.7, 1.0, 1.4, 2.0), (1.0, 10.0), (1e-4, 1e-2))
    AT_ONCE = 2_000_000

    def __init__(self, objectives: Objectives, points: Array, outcomes: Sequence[Outcome], limit: int = 10_000) -> None:
        self._measures = objectives.every_measure
        self._accepted: list[Flags] = []
        responses = []
        for place, labels in enumerate(objectives.accepted):
            if labels is None:
                raise ValueError("logits say nothing about labels that are not single classes of the model")
            images, classes = labels.shape
            kept = max(1, min(images, limit // (classes * len(objectives.accepted))))
            rows = np.linspace(0, images - 1, kept).round().astype(int)
            self._accepted.append(labels[rows])
            logits = np.array([logits_of(outcome.sets[place])[rows] for outcome in outcomes], dtype=np.float64)
            responses.append((logits - logits.mean(axis=2, keepdims=True)).reshape(len(outcomes), -1))
        self.process = GaussianProcess(points, np.concatenate(responses, axis=1), self.KERNELS)
        left_out, deviation = self.process.left_out
        self._logit_error, self._margin_error = self._errors_of(left_out, deviation)
        self.found = self._read(self.process.responses, np.zeros(len(points)))
        missed = (self.found - self._read(left_out, deviation)) / deviation[:, None]
        self.errors = np.maximum(np.sqrt(np.mean(missed**2, axis=0)), 1e-9)
        self.thresholds = np.array([least for _, least in objectives.constraints])
        self.unit = 1.0

    def predict(self, points: Array) -> Array:
        """See ``Surrogate``."""
        at_once = max(1, self.AT_ONCE // self.process.responses.shape[1])
        chunks = np.array_split(points, range(at_once, len(points), at_once))
        return np.concatenate([self._read(self.process.mean(chunk), self.process.deviation(chunk)) for chunk in chunks])

    def _errors_of(self, left_out: Array, deviation: Array) -> tuple[float, float]:
        """How wrong logits and margins are, in deviations; margins by the median, because a few images are far off."""
        responses = self.process.responses
        logits = np.sqrt(np.mean(((responses - left_out) / deviation[:, None]) ** 2))
        pairs = zip(self._split(responses), self._split(left_out), strict=True)
        margins = [
            np.abs(_margins(true[:, some], labels[some]) - _margins(guess[:, some], labels[some])) / deviation[:, None]
            for (true, labels), (guess, _) in pairs
            for some in [labels.any(axis=1) & ~labels.all(axis=1)]
        ]
        known = np.concatenate(margins, axis=1)
        return float(logits), _GAUSSIAN_MEDIAN * float(np.median(known)) if known.size else 0.0

    def _read(self, responses: Array, deviation: Array) -> Array:
        """The measures (q, k) expected of logits with mean ``responses`` (q, m) and their ``deviation`` (q,)."""
        sets = self._split(responses)
        return np.stack([self._read_measure(measure, sets, deviation) for measure in self._measures], axis=1)

    def _read_measure(self, measure: Measure, sets: Sequence[tuple[Array, Flags]], deviation: Array) -> Array:
        """One measure (q,); of the sets ``(logits, labels)`` it reads those that count for it."""
        over = np.min if measure.over_sets == "worst" else np.mean
        if measure.metric == "accuracy":
            error = self._margin_error * deviation
            return np.asarray(over([_expected_accuracy(*each, error) for each in measure.of_sets(sets)], axis=0))
        error, value = self._logit_error * deviation, np.zeros(len(deviation))
        if likelihoods := [_expected_likelihood(*each, error) for each in measure.of_sets(sets)]:
            value = value + over(likelihoods, axis=0)
        if measure.reads_logits:
            each = [one.mutual_information(sets[one.place][0]) for one in measure.unlabelled]
            value = value + measure.weight * over(each, axis=0)
        return value

    def _split(self, responses: Array) -> list[tuple[Array, Flags]]:
        """Logits (q, images, classes) and labels of each set."""
        ends = np.cumsum([labels.size for labels in self._accepted])[:-1]
        parts = np.split(responses, ends, axis=1)
        return [
            (part.reshape(len(responses), *labels.shape), labels)
            for part, labels in zip(parts, self._accepted, strict=True)
        ]


def _expected_likelihood(logits: Array, accepted: Flags, error: Array) -> Array:
    """Mean log-probability (q,) of the accepted classes, to second order in the logits' ``error``: it is concave."""
    total = logsumexp(logits, axis=2)
    right = logsumexp(np.where(accepted, logits, -np.inf), axis=2)
    shares = np.exp(logits - total[:, :, None])
    curvature = (shares * (1 - shares)).sum(axis=2)
    return np.asarray((right - total - 0.5 * curvature * error[:, None] ** 2).mean(axis=1))


def _expected_accuracy(logits: Array, accepted: Flags, error: Array) -> Array:
    """Mean probability (q,) that an accepted class is best, margins being off by ``error``."""
    return np.asarray(ndtr(_margins(logits, accepted) / (error[:, None] + 1e-9)).mean(axis=1))


def _margins(logits: Array, accepted: Flags) -> Array:
    """The best accepted class's logit minus the best other's, (q, images); infinite where every class is accepted."""
    others = np.where(accepted, -np.inf, logits).max(axis=2)
    return np.asarray(np.where(accepted, logits, -np.inf).max(axis=2) - others)
