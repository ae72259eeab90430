"""CIFAR-10 in its binary version (https://www.cs.toronto.edu/~kriz/cifar.html), and CIFAR-10-C."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from lab.data.labelled_images import LabelledImages
from lab.data.layouts.image_set import ImageSet

Split = Literal["train", "test"]

_SHAPE = (3, 32, 32)
_RECORD = 1 + 3 * 32 * 32
_FILES: dict[Split, tuple[str, ...]] = {
    "train": tuple(f"data_batch_{number}.bin" for number in range(1, 6)),
    "test": ("test_batch.bin",),
}


def load_cifar10(folder: Path, split: Split) -> LabelledImages:
    """The images (N, 3, 32, 32) and labels (N,) of one split: one byte of label and 3072 of pixels for each image.

    Raises FileNotFoundError if a file is missing, and ValueError if a file is damaged or only the pickles of the Python
    version exist. These are never opened, because a pickle can run any code.
    """
    records = [_read(folder, name) for name in _FILES[split]]
    content = np.concatenate(records)
    return LabelledImages(content[:, 1:].reshape(-1, *_SHAPE), content[:, 0].astype(np.int64))


def _read(folder: Path, name: str) -> np.ndarray[tuple[int, int], np.dtype[np.uint8]]:
    path = folder / name
    if not path.is_file():
        pickled = path.with_suffix("")
        if pickled.is_file():
            raise ValueError(
                f"{pickled} is a pickle, which is not opened because it can run any code: "
                "download and unpack the binary version, cifar-10-binary.tar.gz"
            )
        raise FileNotFoundError(
            f"{folder} has no {name}: give the folder cifar-10-batches-bin of the binary version of CIFAR-10"
        )
    content = np.fromfile(path, dtype=np.uint8)
    if not len(content) or len(content) % _RECORD:
        raise ValueError(f"{path} is damaged: {len(content)} bytes are not a multiple of {_RECORD}")
    records = content.reshape(-1, _RECORD)
    if records[:, 0].max() > 9:
        raise ValueError(f"{path} is damaged: it has the label {records[:, 0].max()}, and CIFAR-10 has 0 to 9")
    return records


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
