"""Simple shifts besides the 15 published corruptions, made for small images on a plain background."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from scipy import ndimage

from lab.data.corruptions.image import FloatImage


def low_contrast(image: FloatImage, _rng: Generator, black: float, white: float) -> FloatImage:
    """Squeeze the range of values: 0 becomes ``black``, 1 becomes ``white``.

    The published ``contrast`` moves towards the image's own mean, which leaves a dark background dark.
    """
    return black + (white - black) * image


def rotation(image: FloatImage, rng: Generator, degrees: float) -> FloatImage:
    """Turn the image about its centre by ``degrees``, left or right at random.

    Bilinear; corners that come from outside the image are black.
    """
    angle = degrees if rng.random() < 0.5 else -degrees
    turned = ndimage.rotate(image, angle, axes=(1, 0), reshape=False, order=1, mode="constant", cval=0.0)
    return np.asarray(turned, dtype=np.float64)
