"""Fashion-MNIST's test images as other data sets lie on disk."""

from pathlib import Path

import numpy as np
from PIL import Image

from lab.data.corruptions import corrupt_batch
from tests.lab.training.recipes import LABEL_NAMES, fashion

COUNT = 60


def write_class_folders(folder: Path) -> Path:
    """PNG files in a folder for each label name."""
    data = fashion(COUNT)
    for index, (image, label) in enumerate(zip(data.images, data.labels, strict=True)):
        path = folder / LABEL_NAMES[label] / f"{index:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image[0]).save(path)
    return folder


def write_cifar10_c(folder: Path, corruption: str = "contrast") -> Path:
    """All severities of a corruption in one array, in colour."""
    data = fashion(COUNT)
    pixels = np.ascontiguousarray(data.images.transpose(0, 2, 3, 1))
    shifted = [
        corrupt_batch(pixels, corruption, severity, np.random.default_rng(severity), "cifar")
        for severity in range(1, 6)
    ]
    folder.mkdir()
    np.save(folder / f"{corruption}.npy", np.concatenate(shifted).repeat(3, axis=3))
    np.save(folder / "labels.npy", np.tile(data.labels, 5))
    return folder
