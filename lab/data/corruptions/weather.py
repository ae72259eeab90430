"""Snow, frost, fog and brightness."""

from __future__ import annotations

import numpy as np
from numpy.random import Generator
from PIL import Image

from lab.data.corruptions.blur import clipped_zoom, directional_blur
from lab.data.corruptions.fields import FROST_SIDE, FROST_TEXTURES, frost_texture, plasma
from lab.data.corruptions.image import FloatImage

LUMINANCE = np.array([0.299, 0.587, 0.114])
"""Weights of red, green and blue in the luminance (ITU-R BT.601)."""


def snow(image: FloatImage, rng: Generator, *row: float) -> FloatImage:
    """Falling flakes over a whitened image.

    ``row``: mean and standard deviation of the flakes' noise, its magnification, the threshold below which there
    is no flake, radius and sigma of the blur along their fall, and the share of the image that is not whitened.
    """
    mean, spread, zoom, threshold, radius, sigma, keep = row
    flakes = clipped_zoom(rng.normal(mean, spread, size=(*image.shape[:2], 1)), zoom)
    flakes = np.floor(np.clip(np.where(flakes < threshold, 0.0, flakes), 0.0, 1.0) * 255.0)
    fallen = np.rint(directional_blur(flakes, int(radius), sigma, rng.uniform(-135.0, -45.0))) / 255.0
    whitened = keep * image + (1.0 - keep) * np.maximum(image, _luminance(image) * 1.5 + 0.5)
    return whitened + fallen + np.rot90(fallen, k=2)


def frost(image: FloatImage, rng: Generator, keep: float, ice: float, scale: float) -> FloatImage:
    """Add ``ice`` times a random crop of a random frost texture, shrunk by ``scale``, to ``keep`` times the image.

    The texture is drawn, not photographed; see `frost_texture`.
    """
    height, width = image.shape[:2]
    texture = _scaled_frost(int(rng.integers(FROST_TEXTURES)), scale, at_least=max(height, width) + 1)
    top, left = rng.integers(0, texture.shape[0] - height), rng.integers(0, texture.shape[1] - width)
    crop = texture[top : top + height, left : left + width]
    ice_layer = crop if image.shape[2] == 3 else _luminance(crop)
    return keep * image + ice * ice_layer


def fog(image: FloatImage, rng: Generator, density: float, decay: float) -> FloatImage:
    """Add ``density`` times a fractal cloud and scale back to the image's own maximum."""
    height, width = image.shape[:2]
    brightest = image.max()
    side = 1 << (max(height, width, 2) - 1).bit_length()
    clouded = image + density * plasma(side, decay, rng)[:height, :width, None]
    return np.asarray(clouded * brightest / (brightest + density), dtype=np.float64)


def brightness(image: FloatImage, _rng: Generator, amount: float) -> FloatImage:
    """Raise the value of hue, saturation and value (a pixel's largest channel) by ``amount``, at most to 1."""
    value = image.max(axis=2, keepdims=True)
    raised = np.minimum(value + amount, 1.0)
    scaled = image * (raised / np.where(value > 0.0, value, 1.0))
    return np.asarray(np.where(value > 0.0, scaled, raised), dtype=np.float64)


def _luminance(image: FloatImage) -> FloatImage:
    return np.asarray((image @ LUMINANCE)[..., None] if image.shape[2] == 3 else image, dtype=np.float64)


def _scaled_frost(index: int, scale: float, at_least: int) -> FloatImage:
    texture = frost_texture(index)
    side = max(round(FROST_SIDE * scale), at_least)
    if side == FROST_SIDE:
        return texture
    picture = Image.fromarray(np.rint(texture * 255.0).astype(np.uint8))
    return np.asarray(picture.resize((side, side), Image.Resampling.BILINEAR), dtype=np.float64) / 255.0
