from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from lab.data.label_maps import label_maps
from lab.data.layouts import (
    ImageSet,
    load_conflict_stimuli,
    load_imagenet,
    load_imagenet_a,
    load_imagenet_c,
    load_imagenet_r,
    load_imagenet_real,
    load_imagenet_v2,
)

WNIDS = label_maps().wnids


def paint(path: Path, shade: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    kind = "PNG" if path.suffix == ".png" else "JPEG"
    Image.fromarray(np.full((12, 10, 3), shade, np.uint8)).save(path, kind)
    return path


def names(images: ImageSet) -> list[str]:
    assert isinstance(images.images, tuple)
    return [path.name for path in images.images]


def classes(images: ImageSet) -> list[tuple[tuple[int, ...], ...]]:
    """The classes of the model behind each image's accepted columns."""
    return [tuple(images.columns[column] for column in accepted) for accepted in images.accepted]


def test_label_maps_are_imagenets() -> None:
    maps = label_maps()
    assert len(maps.wnids) == len(set(maps.wnids)) == 1000
    assert list(maps.wnids) == sorted(maps.wnids)
    assert len(set(maps.imagenet_a)) == len(set(maps.imagenet_r)) == 200
    assert len(maps.cue16) == 16
    assert list(maps.cue16) == sorted(maps.cue16)
    coarse = [index for group in maps.cue16.values() for index in group]
    assert len(coarse) == len(set(coarse))
    assert all(0 <= index < 1000 for index in (*coarse, *maps.imagenet_a, *maps.imagenet_r))


def test_imagenet_is_1000_way_by_rank_of_the_wnid(tmp_path: Path) -> None:
    paint(tmp_path / WNIDS[999] / "ILSVRC2012_val_00000001.JPEG")
    paint(tmp_path / WNIDS[7] / "ILSVRC2012_val_00000009.JPEG")
    paint(tmp_path / WNIDS[7] / "ILSVRC2012_val_00000003.JPEG")
    (tmp_path / WNIDS[7] / "notes.txt").write_text("no image")
    paint(tmp_path / WNIDS[7] / "._ILSVRC2012_val_00000003.JPEG")
    images = load_imagenet(tmp_path)
    assert images.columns == tuple((index,) for index in range(1000))
    assert names(images) == [f"ILSVRC2012_val_0000000{number}.JPEG" for number in (3, 9, 1)]
    assert images.accepted == ((7,), (7,), (999,))
    assert not images.precropped


def test_a_folder_that_is_no_class_is_refused(tmp_path: Path) -> None:
    paint(tmp_path / "dogs" / "1.JPEG")
    with pytest.raises(ValueError, match="dogs is not named after a class"):
        load_imagenet(tmp_path)


def test_missing_and_empty_folders_are_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        load_imagenet(tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="no class folders"):
        load_imagenet(tmp_path)
    (tmp_path / WNIDS[0]).mkdir()
    with pytest.raises(FileNotFoundError, match="hold no"):
        load_imagenet(tmp_path)


def test_v2_folders_are_numbers_not_text(tmp_path: Path) -> None:
    for index in (0, 1, 2, 10, 100, 999):
        paint(tmp_path / str(index) / "image.jpeg", shade=index % 256)
    images = load_imagenet_v2(tmp_path)
    assert isinstance(images.images, tuple)
    assert {path.parent.name: accepted for path, accepted in zip(images.images, images.accepted, strict=True)} == {
        str(index): (index,) for index in (0, 1, 2, 10, 100, 999)
    }


def test_v2_refuses_other_folders(tmp_path: Path) -> None:
    paint(tmp_path / "1000" / "image.jpeg")
    with pytest.raises(ValueError, match="1000 is not named after a class"):
        load_imagenet_v2(tmp_path)


@pytest.mark.parametrize("flat", [True, False])
def test_real_takes_any_of_several_labels_and_leaves_out_empty_lists(tmp_path: Path, flat: bool) -> None:
    labels = tmp_path / "real.json"
    labels.write_text(json.dumps([[5], [], [9, 2], [1]]))
    for number in range(1, 5):
        folder = Path() if flat else Path(WNIDS[(number * 7) % 5])
        paint(tmp_path / "val" / folder / f"ILSVRC2012_val_{number:08d}.JPEG")
    images = load_imagenet_real(tmp_path / "val", labels)
    assert names(images) == [f"ILSVRC2012_val_{number:08d}.JPEG" for number in (1, 3, 4)]
    assert images.accepted == ((5,), (2, 9), (1,))
    assert len(images.columns) == 1000


@pytest.mark.parametrize("name", ["ILSVRC2012_val_00000005.JPEG", "ILSVRC2012_val_00000000.JPEG", "cat.JPEG"])
def test_real_refuses_a_file_without_a_list(tmp_path: Path, name: str) -> None:
    labels = tmp_path / "real.json"
    labels.write_text(json.dumps([[5], [], [9, 2], [1]]))
    paint(tmp_path / "val" / name)
    with pytest.raises(ValueError, match="does not end in a number from 1 to 4"):
        load_imagenet_real(tmp_path / "val", labels)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "give the real.json"),
        ("[[5], [", "is not JSON"),
        ('{"5": []}', "not a list of lists"),
        ("[[5], 6]", "not a list of lists"),
        ("[[1000]]", "not a list of lists"),
        ("[[true]]", "not a list of lists"),
    ],
)
def test_real_refuses_other_labels(tmp_path: Path, content: str | None, reason: str) -> None:
    paint(tmp_path / "val" / "ILSVRC2012_val_00000001.JPEG")
    if content is not None:
        (tmp_path / "real.json").write_text(content)
    with pytest.raises((FileNotFoundError, ValueError), match=reason):
        load_imagenet_real(tmp_path / "val", tmp_path / "real.json")


def test_real_refuses_a_folder_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "real.json").write_text("[[5]]")
    with pytest.raises(FileNotFoundError, match="give the folder that holds the images"):
        load_imagenet_real(tmp_path / "val", tmp_path / "real.json")


@pytest.mark.parametrize(
    ("load", "subset"),
    [(load_imagenet_a, label_maps().imagenet_a), (load_imagenet_r, label_maps().imagenet_r)],
)
def test_a_and_r_choose_among_their_200_classes_alone(tmp_path: Path, load: object, subset: tuple[int, ...]) -> None:
    assert callable(load)
    for index in (subset[0], subset[150]):
        paint(tmp_path / WNIDS[index] / "image.jpg")
    (tmp_path / "README.txt").write_text("beside the folders")
    images = load(tmp_path)
    assert images.columns == tuple((index,) for index in subset)
    assert images.accepted == ((0,), (150,))
    outside = next(index for index in range(1000) if index not in subset)
    paint(tmp_path / WNIDS[outside] / "image.jpg")
    with pytest.raises(ValueError, match="not named after a class"):
        load(tmp_path)


def test_c_is_cropped_already(tmp_path: Path) -> None:
    for severity in (1, 5):
        paint(tmp_path / "fog" / str(severity) / WNIDS[3] / f"{severity}.JPEG")
    images = load_imagenet_c(tmp_path, "fog", 5)
    assert names(images) == ["5.JPEG"]
    assert images.accepted == ((3,),)
    assert images.precropped
    with pytest.raises(FileNotFoundError):
        load_imagenet_c(tmp_path, "fog", 2)


def test_conflict_stimuli_are_sixteen_groups_and_the_shape_is_right(tmp_path: Path) -> None:
    paint(tmp_path / "cat" / "cat1-dog2.png")
    paint(tmp_path / "airplane" / "airplane3-clock1.png")
    images = load_conflict_stimuli(tmp_path)
    cue16 = label_maps().cue16
    assert images.columns == tuple(cue16.values())
    assert classes(images) == [(cue16["airplane"],), (cue16["cat"],)]


def test_pictures_are_read_one_by_one(tmp_path: Path) -> None:
    paint(tmp_path / WNIDS[0] / "1.png", shade=10)
    paint(tmp_path / WNIDS[1] / "2.png", shade=20)
    images = load_imagenet(tmp_path)
    read = [(np.asarray(picture)[0, 0].tolist(), accepted) for picture, accepted in images]
    assert read == [([10, 10, 10], (0,)), ([20, 20, 20], (1,))]
    assert names(images.subset([1])) == ["2.png"]
    assert images.subset([1]).accepted == ((1,),)
