"""Random fields: fractal clouds for fog and, instead of photographs, textures for frost."""

from __future__ import annotations

import cmath
import math
from functools import lru_cache

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy import ndimage

Field = NDArray[np.float64]

FROST_SIDE = 512
"""Height and width of a frost texture, in pixels."""

_FROST_LOOKS = (
    ((0.31, 0.59, 0.65), 0.07),
    ((0.79, 0.81, 0.84), 0.09),
    ((0.79, 0.81, 0.84), 0.09),
    ((0.54, 0.60, 0.65), 0.11),
    ((0.44, 0.48, 0.53), 0.17),
)
"""Mean colour and standard deviation of each texture: those of the five photographs behind the published images."""

FROST_TEXTURES = len(_FROST_LOOKS)


def plasma(side: int, decay: float, rng: Generator) -> Field:
    """A fractal height map (side, side) in [0, 1] by the diamond-square method on a torus.

    ``side`` is a power of two. The published maps shrink the noise by the square of ``decay`` from one scale to the
    next (amplitude times amplitude), and so does this one.
    """
    field = np.zeros((side, side))
    step, noise = side, 1.0
    while step >= 2:
        half = step // 2
        corners = field[::step, ::step]
        pairs = corners + np.roll(corners, -1, axis=0)
        centres = (pairs + np.roll(pairs, -1, axis=1)) / 4 + _noise(corners.shape, noise, rng)
        field[half::step, half::step] = centres
        along = corners + np.roll(corners, -1, axis=1) + centres + np.roll(centres, 1, axis=0)
        field[::step, half::step] = along / 4 + _noise(corners.shape, noise, rng)
        down = corners + np.roll(corners, -1, axis=0) + centres + np.roll(centres, 1, axis=1)
        field[half::step, ::step] = down / 4 + _noise(corners.shape, noise, rng)
        step, noise = half, noise / decay**2
    field -= field.min()
    return np.asarray(field / field.max(), dtype=np.float64)


@lru_cache(maxsize=FROST_TEXTURES)
def frost_texture(index: int) -> Field:
    """Frost texture ``index``, (FROST_SIDE, FROST_SIDE, 3) in [0, 1]: ice ferns over clouds, always the same.

    The published images use photographs, which are not shipped here. Mean colour and contrast are those of the
    photographs; the crystals are drawn. The array is read-only because it is shared.
    """
    rng = np.random.default_rng([20190, index])
    colour, spread = _FROST_LOOKS[index]
    relief = _standardise(_ferns(rng)) + _standardise(plasma(FROST_SIDE, 1.4, rng))
    texture = np.clip(np.asarray(colour) + spread * _standardise(relief)[..., None], 0.0, 1.0)
    texture.flags.writeable = False
    return texture


def _ferns(rng: Generator) -> Field:
    canvas = Image.new("L", (FROST_SIDE, FROST_SIDE))
    pen = ImageDraw.Draw(canvas)
    for _ in range(300):
        root = complex(*rng.uniform(0, FROST_SIDE, size=2))
        stem = cmath.rect(rng.uniform(20, 90), rng.uniform(0, 2 * math.pi))
        _draw_fern(pen, root, stem, ink=int(rng.integers(90, 256)))
    return np.asarray(ndimage.gaussian_filter(np.asarray(canvas, dtype=np.float64), 0.5, mode="wrap"))


def _draw_fern(pen: ImageDraw.ImageDraw, root: complex, stem: complex, ink: int) -> None:
    """A stem and, every four pixels on both sides, a barb at 60 degrees that shortens towards the tip."""
    _draw_needle(pen, root, root + stem, ink)
    for share in np.arange(4.0 / abs(stem), 1.0, 4.0 / abs(stem)).tolist():
        for angle in (-math.pi / 3, math.pi / 3):
            barb = stem * (1.0 - share) / 3 * cmath.rect(1.0, angle)
            _draw_needle(pen, root + share * stem, root + share * stem + barb, int(0.8 * ink))


def _draw_needle(pen: ImageDraw.ImageDraw, start: complex, end: complex, ink: int) -> None:
    pen.line([(round(point.real), round(point.imag)) for point in (start, end)], fill=ink)


def _noise(shape: tuple[int, ...], amplitude: float, rng: Generator) -> Field:
    return rng.uniform(-amplitude, amplitude, shape)


def _standardise(field: Field) -> Field:
    return np.asarray((field - field.mean()) / field.std(), dtype=np.float64)
