"""Image sets in the IDX format of MNIST and Fashion-MNIST (http://yann.lecun.com/exdb/mnist/)."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.data.labelled_images import LabelledImages

Split = Literal["train", "test"]

_UNSIGNED_BYTE = 0x08
_PREFIXES: dict[Split, str] = {"train": "train", "test": "t10k"}


def read_idx(path: Path) -> NDArray[np.uint8]:
    """The array in an IDX file of unsigned bytes, plain or gzipped.

    Raises ValueError if the file is of another type or shorter than its header says.
    """
    content = _unpacked(path)
    if len(content) < 4 or content[:3] != bytes((0, 0, _UNSIGNED_BYTE)):
        raise ValueError(f"{path} is not an IDX file of unsigned bytes: its first bytes are {content[:4]!r}")
    dimensions = content[3]
    start = 4 + 4 * dimensions
    if len(content) < start:
        raise ValueError(f"{path} is damaged: it ends inside its header. Copy it again")
    shape = struct.unpack(f">{dimensions}I", content[4:start])
    if len(content) - start != int(np.prod(shape)):
        raise ValueError(
            f"{path} is damaged: {len(content) - start} values, but its header says {shape}. Copy it again"
        )
    return np.frombuffer(content, dtype=np.uint8, offset=start).reshape(shape).copy()


def _unpacked(path: Path) -> bytes:
    if path.suffix != ".gz":
        return path.read_bytes()
    try:
        return gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise ValueError(f"{path} is damaged: it cannot be unpacked ({error}). Copy it again") from error


def load_idx_folder(folder: Path, split: Split) -> LabelledImages:
    """The images (N, 1, H, W) and labels (N,) of one split of a folder laid out like MNIST's.

    Raises FileNotFoundError if a file is missing both plain and gzipped, and ValueError if one is damaged.
    """
    images = read_idx(_find(folder, f"{_PREFIXES[split]}-images-idx3-ubyte"))
    labels = read_idx(_find(folder, f"{_PREFIXES[split]}-labels-idx1-ubyte"))
    return LabelledImages(images[:, None], labels.astype(np.int64))


def _find(folder: Path, name: str) -> Path:
    for candidate in (folder / f"{name}.gz", folder / name):
        if candidate.is_file():
            return candidate
    raise FileNotFoundError(
        f"{folder} has neither {name}.gz nor {name}: give the folder of the four IDX files "
        "(Debian's package dataset-fashion-mnist puts them into /usr/share/datasets/fashion-mnist)"
    )
