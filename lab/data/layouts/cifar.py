"""CIFAR-10-C."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.data.layouts.image_set import ImageSet

CIFAR10_CLASSES: tuple[str, ...] = (
    "airplane",
    "automobile",
    "bird",
    "cat",
    "deer",
    "dog",
    "frog",
    "horse",
    "ship",
    "truck",
)


def load_cifar10_c(folder: Path, corruption: str, severity: int) -> ImageSet:
    """One severity of ``<corruption>.npy``, uint8 (5 N, 32, 32, 3), with ``labels.npy``; N is 10000.

    Severity s is rows (s - 1) N to s N. Images are mapped from the file, not read at once.

    Raises FileNotFoundError if a file is missing, ValueError for another severity, dtype or number of labels, or a
    file that is damaged or pickled.
    """
    if severity not in range(1, 6):
        raise ValueError(f"severity must be 1, 2, 3, 4 or 5, not {severity!r}")
    images, labels = _mapped(folder, f"{corruption}.npy"), _mapped(folder, "labels.npy")
    if images.dtype != np.uint8 or images.ndim != 4 or len(images) % 5:
        raise ValueError(f"{corruption}.npy must be uint8 (5 N, H, W, 3), not {images.dtype} {images.shape}")
    if labels.shape != images.shape[:1]:
        raise ValueError(f"labels.npy has shape {labels.shape}; {corruption}.npy needs ({len(images)},)")
    count = len(images) // 5
    rows = slice((severity - 1) * count, severity * count)
    columns = tuple((index,) for index in range(len(CIFAR10_CLASSES)))
    accepted = tuple((label,) for label in labels[rows].tolist())
    return ImageSet(images[rows], columns, CIFAR10_CLASSES, accepted)


def _mapped(folder: Path, name: str) -> NDArray[Any]:
    """An array in the folder, mapped from its file."""
    path = folder / name
    if not path.is_file():
        there = ", ".join(sorted(each.stem for each in folder.glob("*.npy") if each.stem != "labels"))
        has = f"it has the corruptions {there}" if there else "give the folder of CIFAR-10-C's .npy files"
        raise FileNotFoundError(f"{folder} has no {name}: {has}")
    try:
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except (ValueError, EOFError) as error:
        raise ValueError(f"{path} is damaged or not a plain NumPy array ({error}): download it again") from error
    return array
