from __future__ import annotations

import gzip
import struct
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from lab.data.idx import load_idx_folder, read_idx

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")


def idx_bytes(array: NDArray[np.uint8]) -> bytes:
    return bytes((0, 0, 8, array.ndim)) + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def test_reads_plain_and_gzipped_alike(tmp_path: Path) -> None:
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    (tmp_path / "plain").write_bytes(idx_bytes(array))
    (tmp_path / "packed.gz").write_bytes(gzip.compress(idx_bytes(array)))
    assert np.array_equal(read_idx(tmp_path / "plain"), array)
    assert np.array_equal(read_idx(tmp_path / "packed.gz"), array)


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\x89PNG....", bytes((0, 0, 13, 1)) + bytes(8)])
def test_refuses_other_files(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "file").write_bytes(content)
    with pytest.raises(ValueError, match="not an IDX file"):
        read_idx(tmp_path / "file")


@pytest.mark.parametrize("damage", [lambda content: content[:-1], lambda content: content + b"\0"])
def test_refuses_a_length_other_than_the_header_says(tmp_path: Path, damage: object) -> None:
    assert callable(damage)
    (tmp_path / "file").write_bytes(damage(idx_bytes(np.zeros((2, 2), np.uint8))))
    with pytest.raises(ValueError, match="damaged"):
        read_idx(tmp_path / "file")


@pytest.mark.parametrize("name", ["header", "packed.gz", "other.gz", "flipped.gz"])
def test_a_damaged_file_is_named(tmp_path: Path, name: str) -> None:
    whole = idx_bytes(np.arange(200, dtype=np.uint8).reshape(10, 20))
    packed = gzip.compress(whole)
    contents = {
        "header": whole[:7],
        "packed.gz": packed[:-20],
        "other.gz": b"no gzip",
        "flipped.gz": packed[:20] + bytes(20) + packed[40:],
    }
    (tmp_path / name).write_bytes(contents[name])
    with pytest.raises(ValueError, match=f"{name} is damaged.*Copy it again"):
        read_idx(tmp_path / name)


def test_a_missing_file_says_what_to_give(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="the four IDX files"):
        load_idx_folder(tmp_path, "train")


def test_fashion_mnist_is_whole() -> None:
    test = load_idx_folder(FASHION_MNIST, "test")
    assert test.images.shape == (10000, 1, 28, 28)
    assert np.array_equal(np.bincount(test.labels), [1000] * 10)
    assert round(float(test.images.mean()) / 255, 3) == 0.287
