"""ImageNet's validation images and the sets that are scored with ImageNet's classes."""

from __future__ import annotations

import json
import re
from pathlib import Path

from lab.data.label_maps import label_maps
from lab.data.layouts.folders import class_folders, image_files, load_class_folders
from lab.data.layouts.image_set import Columns, ImageSet

_ALL: Columns = tuple((index,) for index in range(1000))


def load_imagenet(folder: Path) -> ImageSet:
    """``<wnid>/*.JPEG``, 1000-way; a class's index is the rank of its WordNet id. ImageNet-Sketch has the same layout.

    Raises FileNotFoundError if nothing is there, ValueError for a folder that is not a class of ImageNet.
    """
    wnids = label_maps().wnids
    return load_class_folders(folder, {wnid: index for index, wnid in enumerate(wnids)}, _ALL, wnids)


def load_imagenet_real(folder: Path, labels: Path) -> ImageSet:
    """ImageNet's validation images with the labels of "Are we done with ImageNet?" (Beyer et al., 2020), 1000-way.

    ``labels`` is ``real.json``: a list of class indices for each validation image, in the order of file names, so the
    file numbered k has list k - 1. Images may be in class folders or in one folder. Images whose list is empty are left
    out; any class in its list is right for an image.

    Raises FileNotFoundError if nothing is there, and ValueError if the labels are not such lists or a file has no
    number, or one beyond the lists.
    """
    lists = _real_labels(labels)
    flat = image_files(folder)
    paths = flat or [path for inner in class_folders(folder) for path in image_files(inner)]
    numbered = sorted((_file_number(path, len(lists)), path) for path in paths)
    kept = [(path, tuple(sorted(lists[number - 1]))) for number, path in numbered if lists[number - 1]]
    images, accepted = tuple(path for path, _ in kept), tuple(classes for _, classes in kept)
    return ImageSet(images, _ALL, label_maps().wnids, accepted)


def load_imagenet_v2(folder: Path) -> ImageSet:
    """``<0..999>/*.jpeg``, 1000-way; the class index is the number that names the folder.

    It is not the folder's rank among the names as text, where "10" comes before "2".

    Raises FileNotFoundError if nothing is there, ValueError for a folder that is not a number from 0 to 999.
    """
    return load_class_folders(folder, {str(index): index for index in range(1000)}, _ALL, label_maps().wnids)


def load_imagenet_a(folder: Path) -> ImageSet:
    """``<wnid>/*.jpg`` of ImageNet-A: the prediction is the best of its 200 classes only.

    Raises FileNotFoundError if nothing is there, ValueError for a folder that is not one of the 200.
    """
    return _load_subset(folder, label_maps().imagenet_a)


def load_imagenet_r(folder: Path) -> ImageSet:
    """``<wnid>/*.jpg`` of ImageNet-R: the prediction is the best of its 200 classes only.

    Raises FileNotFoundError if nothing is there, ValueError for a folder that is not one of the 200.
    """
    return _load_subset(folder, label_maps().imagenet_r)


def load_imagenet_c(folder: Path, corruption: str, severity: int) -> ImageSet:
    """``<corruption>/<1..5>/<wnid>/*.JPEG``, 1000-way; the images are already 224 x 224.

    Raises FileNotFoundError if nothing is there, ValueError for a folder that is not a class of ImageNet.
    """
    plain = load_imagenet(folder / corruption / str(severity))
    return ImageSet(plain.images, plain.columns, plain.column_names, plain.accepted, precropped=True)


def load_conflict_stimuli(folder: Path) -> ImageSet:
    """``<shape>/<shape>N-<texture>M.png``: 16 coarse classes, each the mean softmax over its classes of ImageNet.

    The right answer is the shape. Source: Geirhos et al., "ImageNet-trained CNNs are biased towards texture" (2019).
    Raises FileNotFoundError if nothing is there, ValueError for a folder that is not one of the 16.
    """
    coarse = label_maps().cue16
    column_of = {name: column for column, name in enumerate(coarse)}
    return load_class_folders(folder, column_of, tuple(coarse.values()), tuple(coarse), precropped=True)


def _real_labels(path: Path) -> list[list[int]]:
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: give the real.json of ImageNet ReaL")
    try:
        lists = json.loads(path.read_text("utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): download real.json again") from error
    if not isinstance(lists, list) or not all(_are_classes(each) for each in lists):
        raise ValueError(
            f"{path} is not a list of lists of class indices from 0 to 999: give the real.json of ImageNet ReaL"
        )
    return lists


def _are_classes(value: object) -> bool:
    return isinstance(value, list) and all(type(index) is int and 0 <= index < len(_ALL) for index in value)


def _load_subset(folder: Path, indices: tuple[int, ...]) -> ImageSet:
    names = tuple(label_maps().wnids[index] for index in indices)
    column_of = {name: column for column, name in enumerate(names)}
    return load_class_folders(folder, column_of, tuple((index,) for index in indices), names)


def _file_number(path: Path, count: int) -> int:
    match = re.search(r"(\d+)$", path.stem)
    if match is None or not 1 <= int(match[1]) <= count:
        raise ValueError(f"{path.name} does not end in a number from 1 to {count}, as validation images do")
    return int(match[1])
