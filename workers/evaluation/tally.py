"""Outcomes of a model under way."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search.evaluation import SetOutcome
from workers.evaluation.labels import ImageOutcomes


class Tally:
    """What is found on one set while a model is under way on its ``total`` images."""

    def __init__(self, total: int, *, is_labelled: bool, keep_logits: bool = False) -> None:
        self.finite = True
        self._total = total
        self._is_labelled = is_labelled
        self._keep_logits = keep_logits
        self._parts: list[ImageOutcomes] = []
        self._logits: list[Tensor] = []
        self._gradients: list[NDArray[np.float64]] = []

    def add(self, part: ImageOutcomes, logits: Tensor, gradient: NDArray[np.float64] | None = None) -> None:
        """Take the next batch, with the gradient of its likelihood if it was asked for."""
        self.finite &= bool(part.finite.all())
        self._parts.append(part)
        if self._keep_logits:
            self._logits.append(logits)
        if gradient is not None:
            self._gradients.append(gradient)

    def result(self) -> SetOutcome:
        """What was found so far."""
        correct = [part.correct for part in self._parts if part.correct is not None]
        likelihoods = [part.log_probability for part in self._parts if part.log_probability is not None]
        return SetOutcome(
            total=self._total,
            prediction=_joined([part.prediction for part in self._parts], np.int32),
            correct=_joined(correct, np.bool_) if self._is_labelled else None,
            log_probability=_joined(likelihoods, np.float32) if self._is_labelled else None,
            logits=_joined(self._logits, np.float32) if self._keep_logits and self._logits else None,
            gradients=np.stack(self._gradients) if self._gradients else None,
        )


def _joined(parts: list[Tensor], dtype: type[np.generic]) -> NDArray[Any]:
    return torch.cat(parts).cpu().numpy() if parts else np.zeros(0, dtype=dtype)
