"""The data sets of a study, and where their images come from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.corruptions import corrupt_batch, parameters
from lab.data.labelled_images import LabelledImages
from lab.data.layouts import cifar, imagenet
from lab.data.layouts.cifar import CIFAR10_CLASSES, load_cifar10
from lab.data.layouts.folders import class_folders, load_class_folders
from lab.data.layouts.image_set import ImageSet
from lab.study.config import CLEAN, DataSection, SetSection, StudyConfig, corrupted_name
from lab.study.inputs import idx_images, shuffled_rows
from lab.study.store import digest_of, file_digest
from workers.evaluation.labels import LabelSpace
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.model import read_config

IDX_FAMILY = "idx images"
"""Not the name of a set, because a set from another source may well be named ``idx``."""

ReadArchive = Callable[[Path, Path], EncodedSet]
"""Reads an adaptation set (second argument) as the model of a folder (first argument) takes it."""


@dataclass(frozen=True)
class Shift:
    """One data set. Sets of one ``family`` hold the same images in the same order, with different shifts."""

    name: str
    family: str
    corruption: str | None = None
    severity: int | None = None

    @property
    def is_clean(self) -> bool:
        """Whether the images are unchanged."""
        return self.name == CLEAN


class Preparation:
    """Makes the encoded sets for models that take their images as ``folder``'s model does.

    ``read_archive`` opens adaptation sets. Raises ValueError and FileNotFoundError as the loaders do.
    """

    def __init__(self, config: StudyConfig, folder: Path, read_archive: ReadArchive) -> None:
        self._data: DataSection = config.data
        self._seed = config.seed
        self._folder = folder
        self._read_archive = read_archive
        model = read_config(folder)
        self._config = DataConfig.of(model)
        self._num_classes = int(model["num_classes"])
        self._labels: list[str] = list(model.get("label_names", []))

    @property
    def count(self) -> int:
        """The number of images to take from a set that has enough."""
        return self._data.selection + self._data.held_out

    def corrupted_name(self, shift: Shift, idx_digest: str) -> str:
        """The name under which a set of the IDX images is kept."""
        row = parameters(shift.corruption, shift.severity or 0, self._data.table) if shift.corruption else ()
        key = digest_of(idx_digest, self.count, self._seed, shift.corruption, row, self._encoding, self._num_classes)
        return f"sets/{shift.name}-{key}"

    def corrupted(self, shift: Shift) -> EncodedSet:
        """The IDX images under a corruption, or unchanged."""
        data = self._idx_images
        pixels: Any = data.images.transpose(0, 2, 3, 1)
        if shift.corruption is not None and shift.severity is not None:
            rng = np.random.default_rng([self._seed, *shift.corruption.encode(), shift.severity])
            pixels = np.ascontiguousarray(pixels)
            pixels = corrupt_batch(pixels, shift.corruption, shift.severity, rng, self._data.table)
        return EncodedSet.of_classes(encode_images(pixels, self._config), data.labels.tolist(), self._num_classes)

    def stored_name(self, section: SetSection) -> str:
        """The name under which a set that already exists is kept; it depends on the files' sizes and times.

        Raises FileNotFoundError if the files are missing.
        """
        about = section.model_dump(mode="json", exclude={"labels"})
        source = source_of(section)
        return f"sets/{section.name}-{digest_of(source, about, self.count, self._seed, self._encoding, self._labels)}"

    def stored(self, section: SetSection) -> EncodedSet:
        """The images of a set that already exists: at most ``count``, in a random order.

        Raises FileNotFoundError, and ValueError naming the set that does not fit.
        """
        try:
            return self._read(section)
        except ValueError as error:
            raise ValueError(f"set {section.name!r}: {error}") from error

    def _read(self, section: SetSection) -> EncodedSet:
        if section.archive is not None:
            whole = self._read_archive(self._folder, section.archive)
            rows = shuffled_rows(len(whole), self.count, self._seed)
            return EncodedSet(whole.images[rows], tuple(whole.labels[row] for row in rows), whole.space)
        images = load_layout(section, self._labels)
        images = images.subset(shuffled_rows(len(images), self.count, self._seed))
        encoded = encode_images((picture for picture, _ in images), self._config, precropped=images.precropped)
        return EncodedSet(encoded, images.accepted, LabelSpace(images.columns, self._num_classes))

    @cached_property
    def _idx_images(self) -> LabelledImages:
        if self._data.idx is None:
            raise ValueError("the study does not name an idx folder")
        return idx_images(self._data.idx, self.count, self._seed)

    @property
    def _encoding(self) -> tuple[object, ...]:
        """Everything that decides the encoded pixels; normalisation comes later."""
        config = self._config
        return (config.input_size, config.interpolation, config.crop_pct, config.crop_mode)


def idx_digest(folder: Path) -> str:
    """A digest of the test files of an IDX folder. Raises FileNotFoundError if there are none."""
    files = sorted(path for path in folder.glob("t10k-*") if path.is_file())
    if not files:
        raise FileNotFoundError(f"{folder} has no test images (t10k-*): give the folder of the IDX files")
    return digest_of([file_digest(path) for path in files])


def corrupted_shifts(data: DataSection) -> tuple[Shift, ...]:
    """The clean images, then each corruption at each severity; nothing without an IDX folder."""
    if data.idx is None:
        return ()
    made = [
        Shift(corrupted_name(name, severity), IDX_FAMILY, name, severity)
        for name in data.corruption_names
        for severity in data.severities
    ]
    return (Shift(CLEAN, IDX_FAMILY), *made)


def stored_shift(section: SetSection) -> Shift:
    """The shift of a set that already exists. Corruptions in one folder are of the same images."""
    family = f"{section.layout}:{section.folder}" if section.layout in {"imagenet_c", "cifar10_c"} else section.name
    return Shift(section.name, family, section.corruption, section.severity)


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
