"""Scores of soups on images that stay in memory."""

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.evaluation.forward import ForwardPass
from workers.evaluation.labels import ImageScores, LabelSpace
from workers.evaluation.preprocess import DataConfig, Normaliser
from workers.evaluation.scores import ImageDetail, SetScore, SoupScore
from workers.evaluation.sets import EncodedSet
from workers.soups.resident import Precision, ResidentSoup
from workers.soups.stack import IngredientStack

SoupWeights = Sequence[float] | NDArray[np.floating[Any]]
Stop = Callable[[], bool]


@dataclass(frozen=True)
class Running:
    """A point under way, on one set: right so far, of those seen, of all."""

    correct: int
    seen: int
    total: int


class PointMonitor(Protocol):
    """Watches points under way and may end one early."""

    def __call__(self, weights: NDArray[np.float64], running: Sequence[Running]) -> bool:
        """Called after each batch with all sets' state; True ends the point, which is then not complete."""
        ...


@dataclass
class _Tally:
    """One set's results while a point is under way."""

    total: int
    correct: int = 0
    seen: int = 0
    finite: bool = True
    scores: list[ImageScores] = field(default_factory=list)
    logits: list[Tensor] = field(default_factory=list)

    def add(self, scores: ImageScores) -> None:
        self.scores.append(scores)
        self.correct += int(scores.correct.sum())
        self.seen += len(scores.correct)
        self.finite &= bool(scores.finite.all())

    def result(self, detail: bool) -> SetScore:
        nll = _joined([scores.nll for scores in self.scores], np.float64)
        total = math.fsum(nll) if self.finite else math.inf
        return SetScore(self.correct, self.seen, self.total, total, self._detail(nll) if detail else None)

    def _detail(self, nll: NDArray[Any]) -> ImageDetail:
        correct = _joined([scores.correct for scores in self.scores], np.bool_)
        return ImageDetail(correct, nll, _joined(self.logits, np.float32) if self.logits else None)


def _joined(parts: list[Tensor], dtype: type[np.generic]) -> NDArray[Any]:
    return torch.cat(parts).cpu().numpy() if parts else np.zeros(0, dtype=dtype)


@dataclass(frozen=True)
class _Batch:
    set_index: int
    images: Tensor
    accepted: Tensor
    space: LabelSpace


class Evaluator:
    """Scores soups of ``stack`` on ``sets``, which stay on ``device`` between soups.

    Images go through the model in their order, in batches of ``batch_size`` that never span two sets, so a score
    depends on neither the evaluator nor what it evaluated before. ``threads`` sets PyTorch's CPU threads, for the
    whole process. Pass ``soup`` to share a resident model of the same stack, device and precision between evaluators.
    """

    def __init__(
        self,
        stack: IngredientStack,
        sets: Sequence[EncodedSet],
        *,
        device: torch.device | str = "cpu",
        precision: Precision = "float32",
        batch_size: int = 256,
        threads: int | None = None,
        soup: ResidentSoup | None = None,
    ) -> None:
        if threads is not None:
            torch.set_num_threads(threads)
        self.soup = soup if soup is not None else ResidentSoup(stack, device, precision)
        self.sets = tuple(sets)
        self._normalise = Normaliser(DataConfig.of_model(self.soup.model), self.soup.device)
        self._forward = ForwardPass(self.soup.model, self.soup.device, self.soup.precision, batch_size)
        self._batches = [batch for index in range(len(sets)) for batch in self._load(index, batch_size)]

    def _load(self, index: int, batch_size: int) -> Iterator[_Batch]:
        source = self.sets[index]
        images = torch.from_numpy(np.ascontiguousarray(source.images))
        accepted = source.space.mask(source.accepted)
        for rows, mask in zip(torch.split(images, batch_size), torch.split(accepted, batch_size), strict=True):
            yield _Batch(index, rows.to(self.soup.device), mask.to(self.soup.device), source.space)

    def evaluate(
        self,
        weights: SoupWeights,
        *,
        stop: Stop | None = None,
        monitor: PointMonitor | None = None,
        detail: bool = False,
        logits: bool = False,
    ) -> SoupScore:
        """Score the soup of ``weights``, shape (n,), on all images.

        ``stop`` is asked before each batch and ``monitor`` told after each; when either ends the point, the score is
        of the images seen and ``complete`` is False. ``detail`` keeps each image's result, ``logits`` its logits too.

        Raises ValueError for wrong weights, EvaluationMemoryError when one image does not fit.
        """
        start = time.perf_counter()
        vector = self.soup.stack.soup_weights(weights)
        flags = self.soup.set_weights(vector)
        tallies = [_Tally(len(source)) for source in self.sets]
        complete = self._run(vector, tallies, stop, monitor, logits)
        return SoupScore(
            weights=tuple(vector.tolist()),
            sets=tuple(tally.result(detail or logits) for tally in tallies),
            finite=all(tally.finite for tally in tallies),
            complete=complete,
            floored_channels=flags.floored_channels,
            seconds=time.perf_counter() - start,
        )

    def iter_evaluate(
        self, weights: Iterable[SoupWeights], *, stop: Stop | None = None, monitor: PointMonitor | None = None
    ) -> Iterator[SoupScore]:
        """Score soups one after the other, yielding each as it is done; ends, without the current one, on ``stop``."""
        for point in weights:
            if stop is not None and stop():
                return
            score = self.evaluate(point, stop=stop, monitor=monitor)
            if not score.complete and stop is not None and stop():
                return
            yield score

    def _run(
        self,
        weights: NDArray[np.float64],
        tallies: list[_Tally],
        stop: Stop | None,
        monitor: PointMonitor | None,
        keep_logits: bool,
    ) -> bool:
        for position, batch in enumerate(self._batches, start=1):
            if stop is not None and stop():
                return False
            logits = self._forward(self._normalise(batch.images))
            tally = tallies[batch.set_index]
            tally.add(batch.space.score(logits, batch.accepted))
            if keep_logits:
                tally.logits.append(logits)
            running = [Running(each.correct, each.seen, each.total) for each in tallies]
            if monitor is not None and monitor(weights, running) and position < len(self._batches):
                return False
        return True
