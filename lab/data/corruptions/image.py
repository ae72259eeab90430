"""The form in which corruptions receive an image."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FloatImage = NDArray[np.float64]
"""(H, W, C), C = 1 or 3, values in [0, 1]; a corruption may leave that range, the caller clips."""
