"""Corruptions by name and severity, for uint8 images of any size, grey or colour."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.data.corruptions import blur, digital, noise, weather
from lab.data.corruptions.image import FloatImage
from lab.data.corruptions.tables import EXTRA, TABLES, Row, TableName

FUNCTIONS: Mapping[str, Callable[..., FloatImage]] = {
    "gaussian_noise": noise.gaussian_noise,
    "shot_noise": noise.shot_noise,
    "impulse_noise": noise.impulse_noise,
    "defocus_blur": blur.defocus_blur,
    "glass_blur": blur.glass_blur,
    "motion_blur": blur.motion_blur,
    "zoom_blur": blur.zoom_blur,
    "snow": weather.snow,
    "frost": weather.frost,
    "fog": weather.fog,
    "brightness": weather.brightness,
    "contrast": digital.contrast,
    "elastic_transform": digital.elastic_transform,
    "pixelate": digital.pixelate,
    "jpeg_compression": digital.jpeg_compression,
    "low_contrast": digital.low_contrast,
    "rotation": digital.rotation,
    "salt_and_pepper": noise.salt_and_pepper,
}

EXTRA_NAMES: tuple[str, ...] = tuple(EXTRA)
"""Our own shifts: not part of ImageNet-C or CIFAR-10-C, the same in both tables."""

NAMES: tuple[str, ...] = tuple(name for name in FUNCTIONS if name not in EXTRA)
"""The 15 published corruptions, in their usual order."""


def corrupt(
    image: NDArray[np.uint8], name: str, severity: int, rng: Generator, table: TableName = "cifar"
) -> NDArray[np.uint8]:
    """Corrupt one image.

    ``image`` is uint8 of shape (H, W), (H, W, 1) or (H, W, 3) and is not changed; the result has its shape. Every
    random choice is drawn from ``rng``: the same state gives the same image. Values are truncated, not rounded, to
    whole numbers, as in the published images.

    Raises ValueError for an unknown name, table or severity, another dtype or another shape.
    """
    _check_image(image)
    row = parameters(name, severity, table)
    values = image.reshape(*image.shape[:2], -1) / 255.0
    corrupted = np.clip(FUNCTIONS[name](values, rng, *row), 0.0, 1.0)
    return (corrupted * 255.0).astype(np.uint8).reshape(image.shape)


def corrupt_batch(
    images: Iterable[NDArray[np.uint8]],
    name: str,
    severity: int,
    rng: Generator,
    table: TableName = "cifar",
) -> list[NDArray[np.uint8]]:
    """Corrupt images of any sizes, each with its own generator that ``rng`` spawns.

    The result for image i depends on ``rng``'s seed and on i, not on the other images, so a prefix of the images gives
    a prefix of the results. Raises as `corrupt` does.
    """
    return [corrupt(image, name, severity, rng.spawn(1)[0], table) for image in images]


def parameters(name: str, severity: int, table: TableName = "cifar") -> Row:
    """The arguments of a corruption at a severity from 1 to 5. Raises ValueError if there are none."""
    if table not in TABLES:
        raise ValueError(f"no corruption table {table!r}; choose one of {', '.join(TABLES)}")
    rows = {**TABLES[table], **EXTRA}
    if name not in rows:
        raise ValueError(f"no corruption {name!r}; choose one of {', '.join(rows)}")
    if severity not in range(1, 6):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, not {severity!r}")
    return rows[name][severity - 1]


def _check_image(image: NDArray[np.uint8]) -> None:
    if image.dtype != np.uint8:
        raise ValueError(f"an image to corrupt must be uint8, not {image.dtype}")
    if image.ndim not in {2, 3} or (image.ndim == 3 and image.shape[2] not in {1, 3}) or 0 in image.shape:
        raise ValueError(f"an image to corrupt must have shape (H, W), (H, W, 1) or (H, W, 3), not {image.shape}")
