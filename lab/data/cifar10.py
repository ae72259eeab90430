"""CIFAR-10 in its binary version (https://www.cs.toronto.edu/~kriz/cifar.html)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np

from lab.data.labelled_images import LabelledImages

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
