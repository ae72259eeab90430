from __future__ import annotations

import io
import json
import zipfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.data.adaptation_sets import corrupted_set, write_adaptation_set
from lab.data.corruptions import corrupt_batch
from lab.data.fashion_mnist import CLASS_NAMES
from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.data.layouts import ImageSet
from service.adaptation_sets.labels import resolve
from service.adaptation_sets.registry import SetRegistry
from service.artifacts import open_store
from service.settings import Settings

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
NOISE = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)


def members(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pixels(content: bytes) -> object:
    with Image.open(io.BytesIO(content)) as picture:
        return np.asarray(picture).tolist()


def test_corrupted_images_become_a_balanced_set(tmp_path: Path) -> None:
    data = load_idx_folder(FASHION_MNIST, "test").first(200)
    images = corrupted_set(data, CLASS_NAMES, "snow", 3, seed=5)
    drawn = write_adaptation_set(images, tmp_path / "snow.zip", count=30, seed=1)
    contents = members(tmp_path / "snow.zip")
    assert json.loads(contents.pop("label_map.json")) == {name: [index] for index, name in enumerate(CLASS_NAMES)}
    assert Counter(name.split("/")[0] for name in contents) == dict.fromkeys(CLASS_NAMES, 3)
    expected = corrupt_batch(data.images[:, 0], "snow", 3, np.random.default_rng(5))
    for index in drawn:
        name = f"{CLASS_NAMES[data.labels[index]]}/{index:05d}.png"
        assert pixels(contents[name]) == expected[index].tolist()


def test_the_same_seed_gives_the_same_bytes(tmp_path: Path) -> None:
    images = ImageSet.of_classes(LabelledImages(NOISE.transpose(0, 3, 1, 2), np.array([0, 1, 2, 0, 1, 2])), "abc")
    results = []
    for name, seed in (("first", 0), ("again", 0), ("other", 1)):
        write_adaptation_set(images, tmp_path / name / "set.zip", count=3, seed=seed)
        results.append((tmp_path / name / "set.zip").read_bytes())
    assert results[0] == results[1] != results[2]


def test_names_that_are_their_own_index_need_no_label_map(tmp_path: Path) -> None:
    plain = ImageSet(NOISE, ((0,), (1,)), ("0", "1"), ((0,), (1,)) * 3)
    write_adaptation_set(plain, tmp_path / "set.zip", count=2, seed=0)
    assert {name.split("/")[0] for name in members(tmp_path / "set.zip")} == {"0", "1"}


def test_groups_and_several_labels_are_written_beside_the_images(tmp_path: Path) -> None:
    images = ImageSet(NOISE[:3], ((3, 4), (7,), (9,)), ("dog", "cat", "owl"), ((0,), (1, 2), (2,)))
    assert write_adaptation_set(images, tmp_path / "set.zip", count=3, seed=0) == [0, 1, 2]
    contents = members(tmp_path / "set.zip")
    assert json.loads(contents["label_map.json"]) == {"dog": [3, 4], "cat": [7], "owl": [9]}
    assert json.loads(contents["labels.json"]) == {"cat/00001.png": ["cat", "owl"]}
    assert pixels(contents["owl/00002.png"]) == NOISE[2].tolist()


def test_image_files_keep_their_bytes(tmp_path: Path) -> None:
    paths = tuple(tmp_path / f"{index}.JPEG" for index in range(2))
    for path, image in zip(paths, NOISE, strict=False):
        Image.fromarray(image).save(path, "JPEG")
    write_adaptation_set(ImageSet(paths, ((0,), (1,)), ("0", "1"), ((1,), (0,))), tmp_path / "set.zip", count=2, seed=0)
    assert members(tmp_path / "set.zip") == {
        "0/00001.jpeg": paths[1].read_bytes(),
        "1/00000.jpeg": paths[0].read_bytes(),
    }


@pytest.mark.parametrize("name", ["T-shirt/top", "..", ""])
def test_a_name_that_cannot_be_a_folder_is_refused(tmp_path: Path, name: str) -> None:
    images = ImageSet(NOISE[:2], ((0,), (1,)), (name, "b"), ((0,), (1,)))
    with pytest.raises(ValueError, match="cannot be a folder's"):
        write_adaptation_set(images, tmp_path / "set.zip", count=2, seed=0)
    assert not (tmp_path / "set.zip").exists()


def test_the_service_reads_the_set_with_the_same_scoring(tmp_path: Path) -> None:
    """What a layout says about columns and accepted answers comes through an upload unchanged."""
    settings = Settings(_env_file=None, data_dir=tmp_path / "data", min_free_bytes=0)
    images = ImageSet(NOISE[:4], ((3, 4), (7,), (9,)), ("dog", "cat", "owl"), ((0,), (1, 2), (2,), (0,)))
    drawn = write_adaptation_set(images, tmp_path / "set.zip", count=4, seed=0)
    registry = SetRegistry(open_store(settings), settings)
    stored = registry.open(registry.add(tmp_path / "set.zip").id)
    labels = resolve(stored, label_names=None, num_classes=10)
    read = {
        np.asarray(picture).tobytes(): {labels.columns[column] for column in accepted}
        for picture, accepted in zip(stored.images(), labels.accepted, strict=True)
    }
    assert set(labels.columns) == set(images.columns)
    assert read == {
        NOISE[index].tobytes(): {images.columns[column] for column in images.accepted[index]} for index in drawn
    }
