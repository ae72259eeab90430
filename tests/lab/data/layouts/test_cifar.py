from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from lab.data.layouts import load_cifar10_c
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


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five severities of four images; each image holds its row's number, each severity the same labels."""
    rows = np.arange(20, dtype=np.uint8)
    np.save(tmp_path / "fog.npy", np.broadcast_to(rows[:, None, None, None], (20, 32, 32, 3)))
    np.save(tmp_path / "labels.npy", np.tile(np.array([3, 8, 8, 0], np.uint8), 5))
    return tmp_path


@pytest.mark.parametrize("severity", [1, 2, 5])
def test_a_severity_is_its_own_rows(folder: Path, severity: int) -> None:
    images = load_cifar10_c(folder, "fog", severity)
    assert [np.asarray(picture)[0, 0, 0] for picture, _ in images] == list(range(4 * severity - 4, 4 * severity))
    assert images.accepted == ((3,), (8,), (8,), (0,))
    assert images.columns == tuple((index,) for index in range(10))


def test_images_stay_on_disk(folder: Path) -> None:
    assert isinstance(load_cifar10_c(folder, "fog", 1).images, np.memmap)


@pytest.mark.parametrize("severity", [0, 6])
def test_other_severities_are_refused(folder: Path, severity: int) -> None:
    with pytest.raises(ValueError, match="severity must be"):
        load_cifar10_c(folder, "fog", severity)


def test_what_is_not_laid_out_so_is_refused(folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"has no snow.npy: it has the corruptions fog$"):
        load_cifar10_c(folder, "snow", 1)
    with pytest.raises(FileNotFoundError, match="give the folder of CIFAR-10-C"):
        load_cifar10_c(folder / "none", "fog", 1)
    np.save(folder / "snow.npy", np.zeros((21, 32, 32, 3), np.uint8))
    with pytest.raises(ValueError, match="must be uint8"):
        load_cifar10_c(folder, "snow", 1)
    np.save(folder / "labels.npy", np.zeros(4, np.uint8))
    with pytest.raises(ValueError, match="has shape"):
        load_cifar10_c(folder, "fog", 1)


def test_pickled_arrays_are_not_opened(folder: Path) -> None:
    np.save(folder / "labels.npy", np.array([{"a": 1}] * 20, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="Python objects"):
        load_cifar10_c(folder, "fog", 1)


@pytest.mark.parametrize("content", [b"", b"no array", None])
def test_a_damaged_array_is_named(folder: Path, content: bytes | None) -> None:
    whole = (folder / "fog.npy").read_bytes()
    (folder / "fog.npy").write_bytes(whole[:-7] if content is None else content)
    with pytest.raises(ValueError, match=r"fog.npy is damaged.*download it again"):
        load_cifar10_c(folder, "fog", 1)


def test_without_labels_their_file_is_named(folder: Path) -> None:
    (folder / "labels.npy").unlink()
    with pytest.raises(FileNotFoundError, match=r"has no labels\.npy"):
        load_cifar10_c(folder, "fog", 1)
