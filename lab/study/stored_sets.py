"""Sets of a study that already exist: their files, and the images of each layout."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

from lab.data.cifar10 import load_cifar10
from lab.data.layouts import cifar, imagenet
from lab.data.layouts.cifar import CIFAR10_CLASSES
from lab.data.layouts.folders import class_folders, load_class_folders
from lab.data.layouts.image_set import ImageSet
from lab.study.data_config import SetSection
from lab.study.store import file_digest

Stamp = tuple[str, int, int]
"""A file's path in its set, its size in bytes and its modification time in nanoseconds."""


def source_of(section: SetSection) -> object:
    """Identifies the contents of a set without reading all of it: an archive's sha256, or its files' sizes and times.

    Raises FileNotFoundError, saying what to correct, if a file or folder is missing.
    """
    if section.archive is not None and section.archive.is_dir():
        return _stamps(section, section.archive, _files_below(section, section.archive))
    if section.archive is not None:
        return file_digest(_file(section, section.archive))
    folder = section.folder or Path()
    stamps = _stamps(section, folder, _files(section, folder))
    return [*stamps, file_digest(_file(section, section.labels))] if section.labels is not None else stamps


def load_layout(section: SetSection, label_names: list[str]) -> ImageSet:
    """Open a data set from disk.

    Raises FileNotFoundError if it is missing, ValueError for class folders that the model does not know.
    """
    folder = section.folder or Path()
    corruption, severity = section.corruption or "", section.severity or 0
    loaders: dict[str | None, Callable[[], ImageSet]] = {
        "class_folders": lambda: _class_folders(folder, label_names),
        "cifar10": lambda: ImageSet.of_classes(load_cifar10(folder, "test"), CIFAR10_CLASSES),
        "cifar10_c": lambda: cifar.load_cifar10_c(folder, corruption, severity),
        "imagenet": lambda: imagenet.load_imagenet(folder),
        "imagenet_real": lambda: imagenet.load_imagenet_real(folder, section.labels or Path()),
        "imagenet_v2": lambda: imagenet.load_imagenet_v2(folder),
        "imagenet_a": lambda: imagenet.load_imagenet_a(folder),
        "imagenet_r": lambda: imagenet.load_imagenet_r(folder),
        "imagenet_c": lambda: imagenet.load_imagenet_c(folder, corruption, severity),
        "conflict_stimuli": lambda: imagenet.load_conflict_stimuli(folder),
    }
    return loaders[section.layout]()


def _class_folders(folder: Path, label_names: list[str]) -> ImageSet:
    names = tuple(label_names) or tuple(path.name for path in class_folders(folder))
    columns = tuple((index,) for index in range(len(names)))
    return load_class_folders(folder, {name: index for index, name in enumerate(names)}, columns, names)


def _files(section: SetSection, folder: Path) -> Iterator[Path]:
    if section.layout == "cifar10_c":
        return iter((folder / f"{section.corruption}.npy", folder / "labels.npy"))
    if section.layout == "cifar10":
        return iter((folder / "test_batch.bin",))
    if section.layout == "imagenet_c":
        return _files_below(section, folder / (section.corruption or "") / str(section.severity))
    return _files_below(section, folder)


def _files_below(section: SetSection, folder: Path) -> Iterator[Path]:
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: correct the set {section.name!r}")
    return iter(sorted(path for path in folder.rglob("*") if path.is_file()))


def _stamps(section: SetSection, folder: Path, files: Iterator[Path]) -> list[Stamp]:
    states = ((path, _file(section, path).stat()) for path in files)
    return [(str(path.relative_to(folder)), status.st_size, status.st_mtime_ns) for path, status in states]


def _file(section: SetSection, path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: correct the set {section.name!r}, or leave it out")
    return path
