"""Noise, drawn independently for every value of an image."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator

from lab.data.corruptions.image import FloatImage


def gaussian_noise(image: FloatImage, rng: Generator, sigma: float) -> FloatImage:
    """Add N(0, sigma^2) to every value of an (H, W, C) image in [0, 1]."""
    return image + rng.normal(scale=sigma, size=image.shape)


def shot_noise(image: FloatImage, rng: Generator, photons: float) -> FloatImage:
    """Replace every value by a Poisson count of mean ``value * photons``, divided by ``photons``."""
    return rng.poisson(image * photons) / photons


def impulse_noise(image: FloatImage, rng: Generator, amount: float) -> FloatImage:
    """Set a fraction ``amount`` of the values to 0 or 1, each with probability one half."""
    return _with_impulses(image, rng, amount, image.shape)


def salt_and_pepper(image: FloatImage, rng: Generator, amount: float) -> FloatImage:
    """Set a fraction ``amount`` of the pixels, all their channels at once, to 0 or 1 (an extra)."""
    return _with_impulses(image, rng, amount, (*image.shape[:2], 1))


def _with_impulses(image: FloatImage, rng: Generator, amount: float, shape: tuple[int, ...]) -> FloatImage:
    hit = rng.random(shape) < amount
    salt = rng.random(shape) < 0.5
    return np.where(hit, salt.astype(np.float64), image)
