"""Bootstrap over images that several models, and several shifts of the same images, share."""

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from search.statistics import RESAMPLES

Interval = tuple[float, float]
Array = NDArray[np.float64]


class Resamples:
    """``resamples`` bootstrap draws of ``images`` images, the same for everything averaged over them.

    Means of two models from one object use the same draws, so the interval of their difference is paired.
    Images that appear under many shifts are drawn once for all of them, which keeps their dependence.
    Raises ValueError when there are no images.
    """

    def __init__(self, images: int, seed: int = 0, resamples: int = RESAMPLES) -> None:
        if images < 1:
            raise ValueError("an interval needs at least one image")
        rng = np.random.default_rng(seed)
        share = np.full(images, 1 / images)
        self._shares: Array = rng.multinomial(images, share, size=resamples) / images

    @property
    def shares(self) -> Array:
        """The weight of each image in each resample, shape (resamples, images); each row sums to 1."""
        return self._shares

    def means(self, values: NDArray[np.floating] | NDArray[np.bool_]) -> Array:
        """Resampled means of ``values``, shape (..., images), over the images: shape (..., resamples)."""
        return np.asarray(np.asarray(values, dtype=np.float64) @ self._shares.T)

    def interval(self, values: NDArray[np.floating] | NDArray[np.bool_]) -> Interval:
        """95 % percentile interval of the mean of ``values``, shape (images,)."""
        return percentile_interval(self.means(values))


@lru_cache(maxsize=8)
def shared_resamples(images: int) -> Resamples:
    """The draws of seed 0 for sets of this size, cached."""
    return Resamples(images)


def percentile_interval(samples: Array) -> Interval:
    """The 2.5 and 97.5 % quantiles of resampled figures, shape (resamples,)."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return float(low), float(high)


def crossed_interval(values: Array, seed: int = 0, resamples: int = RESAMPLES) -> Interval:
    """95 % interval of the mean of ``values``, shape (draws, images), resampling both rows and columns.

    For figures that vary with the images scored and with the seed of a random draw (Owen, "The pigeonhole bootstrap",
    Annals of Applied Statistics 2007).
    """
    rows = Resamples(values.shape[0], seed, resamples).shares
    columns = Resamples(values.shape[1], seed + 1, resamples).shares
    return percentile_interval(np.einsum("rd,di,ri->r", rows, values, columns, optimize=True))


def sample_interval(values: Array) -> Interval:
    """95 % interval by Student's t of the mean of independent ``values``, shape (n,); infinite for fewer than two."""
    from scipy.stats import t

    count = len(values)
    if count < 2:
        return float("-inf"), float("inf")
    half = float(t.ppf(0.975, count - 1) * values.std(ddof=1) / np.sqrt(count))
    mean = float(values.mean())
    return mean - half, mean + half
