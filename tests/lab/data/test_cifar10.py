from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lab.data.layouts.cifar import load_cifar10
from tests.lab.training.cifar import write_cifar10


def test_reads_labels_and_planes_of_colour_in_order(tmp_path: Path) -> None:
    written = write_cifar10(tmp_path, each=3)
    train, test = load_cifar10(tmp_path, "train"), load_cifar10(tmp_path, "test")
    assert train.images.shape == (15, 3, 32, 32)
    assert (train.images == written["train"].images).all()
    assert (train.labels == written["train"].labels).all()
    assert (test.images == written["test"].images).all()


def test_pickles_are_refused_and_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, tuple[object, ...]]:
            return (Path.touch, (tmp_path / "run",))

    (tmp_path / "data_batch_1").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match=r"download and unpack the binary version"):
        load_cifar10(tmp_path, "train")
    assert not (tmp_path / "run").exists()


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    write_cifar10(tmp_path, each=1)
    (tmp_path / "data_batch_4.bin").unlink()
    with pytest.raises(FileNotFoundError, match=r"data_batch_4\.bin"):
        load_cifar10(tmp_path, "train")


def test_damaged_files_are_refused(tmp_path: Path) -> None:
    write_cifar10(tmp_path, each=2)
    path = tmp_path / "test_batch.bin"
    whole = path.read_bytes()
    for content in (b"", whole[:-1], bytes([10]) + whole[1:]):
        path.write_bytes(content)
        with pytest.raises(ValueError, match="is damaged"):
            load_cifar10(tmp_path, "test")
    path.write_bytes(np.frombuffer(whole, np.uint8).tobytes())
    assert len(load_cifar10(tmp_path, "test")) == 2
