"""Sets that exist already: their layouts, and what tells one content from another."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from lab.data.corruptions import corrupt_batch
from lab.study.config import SetSection
from lab.study.inputs import idx_images
from lab.study.shifts import IDX_FAMILY, Preparation, Shift, load_layout
from soupsearch.cli.study import _read_archive
from tests.lab.study.conftest import FASHION_MNIST, RESNET, MakeStudy
from tests.lab.study.layouts import write_cifar10_c, write_class_folders
from tests.lab.training.cifar import write_cifar10
from tests.live import ROOT

ARCHIVE = ROOT / "examples/sets/fashion-rotation/adaptation.zip"


@pytest.fixture
def preparation(make_study: MakeStudy) -> Preparation:
    return Preparation(make_study(), RESNET / "linf", _read_archive)


def test_a_set_is_the_idx_images_under_the_corruption(make_study: MakeStudy) -> None:
    config = make_study(seed=3)
    preparation = Preparation(config, RESNET / "linf", _read_archive)
    data = idx_images(FASHION_MNIST, 50, seed=3)
    rng = np.random.default_rng([3, *b"gaussian_noise", 4])
    expected = corrupt_batch(data.images.transpose(0, 2, 3, 1), "gaussian_noise", 4, rng, "cifar")
    made = preparation.corrupted(Shift("gaussian_noise-4", IDX_FAMILY, "gaussian_noise", 4))
    assert np.array_equal(made.images, np.stack(expected).transpose(0, 3, 1, 2))
    clean = preparation.corrupted(Shift("clean", IDX_FAMILY))
    assert np.array_equal(clean.images, data.images)
    assert clean.labels == made.labels == tuple((label,) for label in data.labels.tolist())


def section_of(**fields: Any) -> SetSection:
    return SetSection.model_validate({"name": "a"} | fields)


def test_cifar10_is_its_test_images(preparation: Preparation, tmp_path: Path) -> None:
    written = write_cifar10(tmp_path, 30)["test"]
    section = section_of(layout="cifar10", folder=tmp_path)
    images = preparation.stored(section)
    assert images.images.shape == (30, 1, 28, 28)
    assert sorted(label for (label,) in images.labels) == sorted(written.labels.tolist())
    assert images.space.is_plain
    before = preparation.stored_name(section)
    (tmp_path / "test_batch.bin").write_bytes((tmp_path / "data_batch_1.bin").read_bytes() * 2)
    assert preparation.stored_name(section) != before


def test_real_labels_are_part_of_what_the_set_is(preparation: Preparation, tmp_path: Path) -> None:
    folder, labels = tmp_path / "val", tmp_path / "real.json"
    folder.mkdir()
    for number in (1, 2, 3):
        Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(folder / f"ILSVRC2012_val_{number:08}.JPEG")
    labels.write_text(json.dumps([[5, 2], [], [7]]), "utf-8")
    section = section_of(layout="imagenet_real", folder=folder, labels=labels)
    assert load_layout(section, []).accepted == ((2, 5), (7,))
    before = preparation.stored_name(section)
    labels.write_text(json.dumps([[5, 3], [], [7]]), "utf-8")
    assert preparation.stored_name(section) != before


def test_a_folder_is_an_adaptation_set_too(preparation: Preparation, tmp_path: Path) -> None:
    folder = write_class_folders(tmp_path / "set")
    section = section_of(archive=folder)
    images = preparation.stored(section)
    assert len(images) == 50
    before = preparation.stored_name(section)
    shutil.rmtree(folder / "bag")
    assert preparation.stored_name(section) != before


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"archive": "none.zip"}, r"none\.zip does not exist: correct the set 'a', or leave it out"),
        ({"layout": "class_folders", "folder": "none"}, r"none is not a folder: correct the set 'a'"),
        ({"layout": "imagenet_real", "folder": ".", "labels": "real.json"}, r"real\.json does not exist"),
        ({"layout": "cifar10", "folder": "."}, r"test_batch\.bin does not exist"),
        ({"layout": "cifar10_c", "folder": "c", "corruption": "fog", "severity": 3}, r"fog\.npy does not exist"),
        ({"layout": "imagenet_c", "folder": "c", "corruption": "fog", "severity": 3}, r"fog/3 is not a folder"),
    ],
)
def test_a_missing_file_is_named_with_what_to_correct(
    preparation: Preparation, tmp_path: Path, fields: dict[str, Any], message: str
) -> None:
    write_cifar10_c(tmp_path / "c")
    placed = {key: tmp_path / fields[key] for key in ("archive", "folder", "labels") if key in fields}
    with pytest.raises(FileNotFoundError, match=message):
        preparation.stored_name(section_of(**fields | placed))


def test_a_set_that_does_not_fit_the_model_is_named(preparation: Preparation, tmp_path: Path) -> None:
    (tmp_path / "lamp").mkdir()
    Image.fromarray(np.zeros((8, 8), np.uint8)).save(tmp_path / "lamp/1.png")
    with pytest.raises(ValueError, match=r"set 'a': .*lamp is not named after a class of this set"):
        preparation.stored(section_of(layout="class_folders", folder=tmp_path))


def test_the_digest_of_an_archive_is_of_its_bytes(preparation: Preparation, tmp_path: Path) -> None:
    shutil.copy(ARCHIVE, tmp_path / "a.zip")
    section = section_of(archive=tmp_path / "a.zip")
    before = preparation.stored_name(section)
    (tmp_path / "a.zip").touch()
    assert preparation.stored_name(section) == before
