from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lab.data.layouts import load_cifar10_c


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
