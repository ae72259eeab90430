"""Soups as tensors: exact merges and their files."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workers.soups.stack import IngredientStack
from workers.soups.variance import VarianceFloor

_BLOCK = 2**20


def merge(stack: IngredientStack, weights: Sequence[float] | NDArray[np.floating[Any]]) -> dict[str, Tensor]:
    """The soup sum_i w_i theta_i as a state dict in float32 on the CPU, integer buffers of the first ingredient.

    Sums run in float64 over the ingredients in order and are rounded once, so the bytes depend on neither threads nor
    device. BatchNorm variances that are not positive are floored as in evaluation. Every key of the model is present;
    tied weights appear under each of their names, as equal copies.

    Raises ValueError when there are not n finite weights.
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


def merge_flat(stack: IngredientStack, weights: Sequence[float] | NDArray[np.floating[Any]]) -> NDArray[np.float32]:
    """The soup as one float32 vector of shape (P,) in the stack's layout, without the floor of variances."""
    coefficients = stack.soup_weights(weights)
    vector = np.empty(stack.layout.size, dtype=np.float32)
    for start in range(0, vector.size, _BLOCK):
        block = slice(start, start + _BLOCK)
        total = np.zeros(vector[block].shape, dtype=np.float64)
        for coefficient, row in zip(coefficients, stack.weights, strict=True):
            total += coefficient * row[block].astype(np.float64)
        vector[block] = total
    return vector
