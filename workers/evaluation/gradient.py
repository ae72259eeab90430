"""The gradient of likelihoods with respect to soup weights, batch by batch."""

from contextlib import nullcontext

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.attacks.model import exact_arithmetic
from workers.evaluation.batches import Batch
from workers.evaluation.forward import ForwardPass
from workers.soups.gradient import WeightGradient
from workers.soups.resident import ResidentSoup


class GradientPass:
    """Logits of batches, and the gradient of their likelihood; in smaller parts once memory has run out.

    Raises ValueError for a soup in bfloat16, and for models that ``WeightGradient`` refuses.
    """

    def __init__(self, soup: ResidentSoup, part_size: int) -> None:
        if soup.precision != "float32":
            raise ValueError("gradients are computed in float32: leave precision out, or choose another strategy")
        self.weights = WeightGradient(soup)
        self._forward = ForwardPass(soup.model, soup.device, soup.precision, part_size)

    def __call__(self, inputs: Tensor, batch: Batch, *, by_layer: bool) -> tuple[Tensor, NDArray[np.float64] | None]:
        """Logits, float32 (N, classes), of the normalised ``inputs`` of a ``batch``, and the gradient if it has labels.

        This is that of the sum of log-probabilities of the accepted labels, float64 (1, n) or (layers, n). Call it
        while ``weights`` are recorded. Raises EvaluationMemoryError.
        """
        if batch.accepted is None:
            return self._forward(inputs), None
        accepted = batch.accepted

        def read(rows: slice) -> tuple[Tensor, NDArray[np.float64]]:
            exact = exact_arithmetic() if inputs.device.type == "cuda" else nullcontext()
            with torch.enable_grad(), exact:
                logits = self._forward.model(inputs[rows]).float()
                value = batch.space.log_likelihood(logits, accepted[rows]).sum()
                return logits.detach(), self.weights.of(value, by_layer=by_layer)

        parts = self._forward.in_parts(inputs, read)
        return torch.cat([logits for logits, _ in parts]), np.sum([gradient for _, gradient in parts], axis=0)
