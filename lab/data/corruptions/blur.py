"""Blurs, and the kernels and shifts they are made of."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from lab.data.corruptions.image import FloatImage


def defocus_blur(image: FloatImage, _rng: Generator, radius: float, softness: float) -> FloatImage:
    """Correlate with a disk of ``radius`` pixels, its edge softened by a Gaussian of ``softness`` pixels."""
    return _as_floats(ndimage.correlate(image, _disk(radius, softness)[..., None], mode="mirror"))


def glass_blur(image: FloatImage, rng: Generator, sigma: float, reach: float, rounds: float) -> FloatImage:
    """Blur, displace every pixel by up to ``reach`` pixels ``rounds`` times, and blur again.

    A pixel takes its neighbour's value while the neighbour keeps its own. The published images were made this way,
    although their script reads like a swap.
    """
    blurred = np.floor(_gaussian(image, sigma) * 255.0) / 255.0
    height, width = image.shape[:2]
    sources = list(range(height * width))
    for target, source in _displacements(height, width, int(reach), int(rounds), rng):
        sources[target] = sources[source]
    return _gaussian(blurred.reshape(height * width, -1)[sources].reshape(image.shape), sigma)


def motion_blur(image: FloatImage, rng: Generator, radius: float, sigma: float) -> FloatImage:
    """Blur along one direction, drawn from -45 to 45 degrees."""
    return directional_blur(image, int(radius), sigma, rng.uniform(-45.0, 45.0))


def zoom_blur(image: FloatImage, _rng: Generator, stop: float, step: float) -> FloatImage:
    """Mean of the image and its magnifications by 1, 1 + step, ... below ``stop``."""
    factors = np.arange(1.0, stop, step)
    total = image + sum(clipped_zoom(image, float(factor)) for factor in factors)
    return np.asarray(total / (len(factors) + 1), dtype=np.float64)


def directional_blur(image: FloatImage, radius: int, sigma: float, degrees: float) -> FloatImage:
    """Weighted sum of the image moved 0, 1, ..., 2 * radius pixels in one direction, one half of a Gaussian.

    The scheme of ImageMagick's motion blur: whole pixels, the border's values continued outwards.
    """
    taps = np.arange(2 * radius + 1)
    weights = np.exp(-(taps**2) / (2.0 * sigma**2))
    weights /= weights.sum()
    sine, cosine = math.sin(math.radians(degrees)), math.cos(math.radians(degrees))
    rows, columns = np.arange(image.shape[0]), np.arange(image.shape[1])
    blurred = np.zeros_like(image)
    for tap, weight in zip(taps.tolist(), weights.tolist(), strict=True):
        down, right = math.ceil(tap * sine - 0.5), math.ceil(tap * cosine - 0.5)
        row_indices = np.clip(rows + down, 0, image.shape[0] - 1)
        column_indices = np.clip(columns + right, 0, image.shape[1] - 1)
        blurred += weight * image[row_indices[:, None], column_indices]
    return blurred


def clipped_zoom(image: FloatImage, factor: float) -> FloatImage:
    """Magnify the centre of an (H, W, C) image by ``factor`` >= 1, bilinear, to (H, W, C)."""
    height, width = image.shape[:2]
    crop_height, crop_width = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - crop_height) // 2, (width - crop_width) // 2
    crop = image[top : top + crop_height, left : left + crop_width]
    zoomed = ndimage.zoom(crop, (factor, factor, 1), order=1, mode="nearest")
    trim_top, trim_left = (zoomed.shape[0] - height) // 2, (zoomed.shape[1] - width) // 2
    return _as_floats(zoomed[trim_top : trim_top + height, trim_left : trim_left + width])


def _displacements(height: int, width: int, reach: int, rounds: int, rng: Generator) -> Iterator[tuple[int, int]]:
    """Target and source of every displacement as flat pixel indices, from the last pixel to the first."""
    rows, columns = np.arange(height - reach, reach, -1), np.arange(width - reach, reach, -1)
    targets = (rows[:, None] * width + columns).ravel()
    for _ in range(rounds):
        right, down = rng.integers(-reach, reach, size=(2, len(targets)))
        yield from zip(targets.tolist(), (targets + down * width + right).tolist(), strict=True)


def _disk(radius: float, softness: float) -> FloatImage:
    reach = 8 if radius <= 8 else int(radius)
    offsets = np.arange(-reach, reach + 1)
    disk = (offsets[:, None] ** 2 + offsets**2 <= radius**2).astype(np.float64)
    softened = ndimage.gaussian_filter(disk / disk.sum(), softness, mode="mirror", radius=1 if reach == 8 else 2)
    used = np.flatnonzero(softened.any(axis=0))
    return _as_floats(softened[used[0] : used[-1] + 1, used[0] : used[-1] + 1])


def _gaussian(image: FloatImage, sigma: float) -> FloatImage:
    return _as_floats(ndimage.gaussian_filter(image, (sigma, sigma, 0.0), mode="nearest"))


def _as_floats(values: object) -> FloatImage:
    return np.asarray(values, dtype=np.float64)
