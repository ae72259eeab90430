"""One temperature for all logits: Guo et al. 2017, "On calibration of modern neural networks"."""

import math
from collections.abc import Callable

from scipy.optimize import minimize_scalar

COLDEST = 0.1
HOTTEST = 100.0


def fit_temperature(nll: Callable[[float], float]) -> float:
    """The temperature between ``COLDEST`` and ``HOTTEST`` that minimises ``nll``, by Brent's method on its logarithm.

    With one accepted label an image, the NLL is convex in 1 / temperature; else its minimum may be a local one.
    """
    bounds = (math.log(COLDEST), math.log(HOTTEST))
    found = minimize_scalar(lambda log: nll(math.exp(log)), bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return math.exp(found.x)
