"""BatchNorm's running variances in soups whose weights are partly negative."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.soups.layout import Layout
from workers.soups.stack import IngredientStack

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
