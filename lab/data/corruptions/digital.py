"""Contrast, elastic deformation, rotation, pixelation and JPEG compression."""

from __future__ import annotations

import io

import numpy as np
from numpy.random import Generator
from PIL import Image
from scipy import ndimage

from lab.data.corruptions.image import FloatImage


def contrast(image: FloatImage, _rng: Generator, factor: float) -> FloatImage:
    """Move every value towards its channel's mean over the image: ``mean + factor * (value - mean)``."""
    mean = image.mean(axis=(0, 1), keepdims=True)
    return np.asarray(mean + factor * (image - mean), dtype=np.float64)


def elastic_transform(
    image: FloatImage, rng: Generator, strength: float, smoothness: float, jitter: float
) -> FloatImage:
    """A random affine map of three points, then a smooth random displacement of every pixel.

    All three numbers are fractions of the shorter side: displacement before smoothing, sigma of the smoothing,
    and how far each of the three points may move along each axis.
    """
    side = min(image.shape[:2])
    matrix, offset = _random_affine(image.shape[:2], jitter * side, rng)
    right, down = (strength * side * _smooth_noise(image.shape[:2], smoothness * side, rng) for _ in range(2))
    rows, columns = np.indices(image.shape[:2])
    deformed = np.empty_like(image)
    for channel in range(image.shape[2]):
        moved = ndimage.affine_transform(image[..., channel], matrix, offset, order=1, mode="mirror")
        deformed[..., channel] = ndimage.map_coordinates(moved, (rows + down, columns + right), order=1, mode="reflect")
    return deformed


def pixelate(image: FloatImage, _rng: Generator, scale: float) -> FloatImage:
    """Shrink both sides by ``scale`` with a box filter and enlarge again."""
    height, width = image.shape[:2]
    small = (max(int(width * scale), 1), max(int(height * scale), 1))
    picture = _to_picture(image).resize(small, Image.Resampling.BOX)
    return _from_picture(picture.resize((width, height), Image.Resampling.BOX), image)


def jpeg_compression(image: FloatImage, _rng: Generator, quality: float) -> FloatImage:
    """Compress and decompress as JPEG; a grey image as a grey JPEG."""
    buffer = io.BytesIO()
    _to_picture(image).save(buffer, "JPEG", quality=int(quality))
    with Image.open(buffer) as picture:
        return _from_picture(picture, image)


def _random_affine(shape: tuple[int, ...], reach: float, rng: Generator) -> tuple[FloatImage, FloatImage]:
    """Matrix (2, 2) and offset (2,) from output to input positions (row, column) of a map of three points."""
    centre, arm = np.array(shape) // 2, max(min(shape) // 3, 1)
    points = np.array([centre + arm, [centre[0] - arm, centre[1] + arm], centre - arm], dtype=np.float64)
    moved = points + rng.uniform(-reach, reach, size=points.shape)
    solution = np.asarray(np.linalg.solve(np.column_stack([moved, np.ones(3)]), points), dtype=np.float64)
    return solution[:2].T, solution[2]


def _smooth_noise(shape: tuple[int, ...], sigma: float, rng: Generator) -> FloatImage:
    noise = rng.uniform(-1.0, 1.0, size=shape)
    return np.asarray(ndimage.gaussian_filter(noise, sigma, mode="reflect", truncate=3.0), dtype=np.float64)


def _to_picture(image: FloatImage) -> Image.Image:
    pixels = np.rint(image * 255.0).astype(np.uint8)
    return Image.fromarray(pixels if pixels.shape[2] == 3 else pixels[..., 0])


def _from_picture(picture: Image.Image, like: FloatImage) -> FloatImage:
    return np.asarray(picture, dtype=np.float64).reshape(like.shape) / 255.0


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
