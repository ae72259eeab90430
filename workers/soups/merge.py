"""Soups as tensors: exact merges, and BatchNorm's running variances where weights are partly negative."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.soups.layout import Layout
from workers.soups.stack import IngredientStack, SoupWeights

FLOOR_FACTOR = 0.3
"""The floor of a channel's variance, as a share of the least among its ingredients.

Mean accuracy and nll of 40 floored soups of the shipped ResNets on 600 shifted images, by floor: smallest float 0.394
and 147; 1e-5 0.403 and 78; 0.01 of the least 0.455 and 3.34; 0.1 0.492 and 2.53; 0.3 0.494 and 2.49; 1 0.486 and 2.51.
"""


class VarianceFloor:
    """Replaces running variances that an extrapolated soup drives to zero or below.

    A soup's variance sum_i w_i v_i need not be positive when weights are negative; the square root is then not a number
    and the logits are silently wrong. Such a channel gets ``FLOOR_FACTOR * min_i v_i`` (at least the smallest normal
    float32), which keeps it in the range of its ingredients; channels with positive variance stay as they are.

    ``indices`` are the positions of all running variances in the flat vector, ``floors`` their floors (float32).
    """

    def __init__(self, stack: IngredientStack) -> None:
        self.indices = running_variance_indices(stack.layout)
        least = stack.weights[:, self.indices].min(axis=0) if self.indices.size else np.zeros(0, np.float32)
        self.floors: NDArray[np.float32] = np.maximum(FLOOR_FACTOR * least, np.finfo(np.float32).tiny).astype(
            np.float32
        )

    def apply(self, vector: NDArray[np.floating[Any]]) -> int:
        """Floor the variances of ``vector`` of shape (P,) in place; returns how many channels were floored."""
        variances = vector[self.indices]
        low = ~(variances > 0)
        vector[self.indices] = np.where(low, self.floors, variances)
        return int(np.count_nonzero(low))


def running_variance_indices(layout: Layout) -> NDArray[np.int64]:
    """Positions of all running variances in the flat vector, increasing."""
    ranges = [np.arange(slot.offset, slot.end) for slot in layout.slots if slot.is_running_variance]
    return np.concatenate(ranges) if ranges else np.zeros(0, np.int64)


_BLOCK = 2**20


def merge(stack: IngredientStack, weights: SoupWeights) -> dict[str, Tensor]:
    """The soup sum_i w_i theta_i as a state dict in float32 on the CPU, integer buffers of the first ingredient.

    In a layer-wise soup each layer has its own w.

    Sums run in float64 over the ingredients in order and are rounded once, so the bytes depend on neither threads nor
    device. BatchNorm variances that are not positive are floored as in evaluation. Every key of the model is present;
    tied weights appear under each of their names, as equal copies.

    Raises ValueError when there are not n finite weights, or as many for each layer.
    """
    vector = merge_flat(stack, weights)
    VarianceFloor(stack).apply(vector)
    flat = torch.from_numpy(vector)
    tensors = {
        name: slot.read(flat).clone(memory_format=torch.contiguous_format)
        for slot in stack.layout.slots
        for name in slot.names
    }
    return tensors | {name: torch.from_numpy(np.array(array)) for name, array in stack.integers.items()}


def merge_flat(stack: IngredientStack, weights: SoupWeights) -> NDArray[np.float32]:
    """The soup as one float32 vector of shape (P,) in the stack's layout, without the floor of variances."""
    coefficients = stack.soup_weights(weights)
    vector = np.empty(stack.layout.size, dtype=np.float32)
    whole = [(0, slice(0, vector.size))]
    for layer, segment in stack.layout.segments() if coefficients.ndim > 1 else whole:
        for start in range(segment.start, segment.stop, _BLOCK):
            block = slice(start, min(start + _BLOCK, segment.stop))
            total = np.zeros(vector[block].shape, dtype=np.float64)
            for coefficient, row in zip(np.atleast_2d(coefficients)[layer], stack.weights, strict=True):
                total += coefficient * row[block].astype(np.float64)
            vector[block] = total
    return vector
