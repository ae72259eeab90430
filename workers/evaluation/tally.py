"""Results of a model under way."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.evaluation.labels import ImageScores
from workers.evaluation.scores import ImageDetail, SetScore


@dataclass(frozen=True)
class Running:
    """A model under way, on one set: right so far, of those seen, of all."""

    correct: int
    seen: int
    total: int


class PointMonitor(Protocol):
    """Watches points under way and may end one early."""

    def __call__(self, weights: NDArray[np.float64], running: Sequence[Running]) -> bool:
        """Called after each batch with the state of all sets; True ends the point, which is then not complete."""
        ...


class Tally:
    """One set's results while a model is under way on its ``total`` images; logits are kept when ``keep_logits``."""

    def __init__(self, total: int, *, keep_logits: bool = False) -> None:
        self.running = Running(0, 0, total)
        self.finite = True
        self._keep_logits = keep_logits
        self._scores: list[ImageScores] = []
        self._logits: list[Tensor] = []

    def add(self, scores: ImageScores, logits: Tensor) -> None:
        """Count a batch."""
        before = self.running
        correct = before.correct + int(scores.correct.sum())
        self.running = Running(correct, before.seen + len(scores.correct), before.total)
        self.finite &= bool(scores.finite.all())
        self._scores.append(scores)
        if self._keep_logits:
            self._logits.append(logits)

    def result(self, *, detail: bool) -> SetScore:
        """The set's score; the sum over images is rounded once, so it does not depend on batches."""
        nll = _joined([scores.nll for scores in self._scores], np.float64)
        nll_sum = math.fsum(nll) if self.finite else math.inf
        state = self.running
        return SetScore(state.correct, state.seen, state.total, nll_sum, self._detail(nll) if detail else None)

    def _detail(self, nll: NDArray[Any]) -> ImageDetail:
        correct = _joined([scores.correct for scores in self._scores], np.bool_)
        return ImageDetail(correct, nll, _joined(self._logits, np.float32) if self._keep_logits else None)


def _joined(parts: list[Tensor], dtype: type[np.generic]) -> NDArray[Any]:
    return torch.cat(parts).cpu().numpy() if parts else np.zeros(0, dtype=dtype)
