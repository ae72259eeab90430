"""The data sets of a study, and where their images come from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from workers.data.corruptions import parameters
from workers.data.layouts import cifar, imagenet
from workers.data.layouts.folders import class_folders, load_class_folders
from workers.data.layouts.image_set import ImageSet
from workers.evaluation.labels import LabelSpace
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.model import read_config
from workers.study.config import CLEAN, DataSection, SetSection, StudyConfig, corrupted_name
from workers.study.inputs import IdxInput, shuffled_rows
from workers.study.jobs import CorruptJob
from workers.study.store import digest_of, file_digest

if TYPE_CHECKING:
    from collections.abc import Iterator

IDX_FAMILY = "idx images"
"""No name of a set: a set of another source may well be named ``idx``."""

ReadArchive = Callable[[Path, Path], EncodedSet]
"""Reads an adaptation set (second) as the model of a folder (first) takes it."""


@dataclass(frozen=True)
class Shift:
    """One data set. Sets of one ``family`` hold the same images in the same order, shifted differently."""

    name: str
    family: str
    corruption: str | None = None
    severity: int | None = None

    @property
    def is_clean(self) -> bool:
        """Whether nothing was done to the images."""
        return self.name == CLEAN


class Preparation:
    """Makes the encoded sets of models that take their images as ``folder``'s model does.

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
        """Images of a set of which there are enough."""
        return self._data.selection + self._data.held_out

    def corrupted(self, shift: Shift, idx_digest: str) -> CorruptJob:
        """The job that makes a set of the IDX images."""
        row = parameters(shift.corruption, shift.severity or 0, self._data.table) if shift.corruption else ()
        key = digest_of(idx_digest, self.count, self._seed, shift.corruption, row, self._encoding, self._num_classes)
        return CorruptJob(
            f"sets/{shift.name}-{key}",
            IdxInput(self._idx, self.count, self._seed),
            shift.corruption,
            shift.severity,
            self._data.table,
            self._config,
            self._num_classes,
        )

    def stored_name(self, section: SetSection) -> str:
        """The name that a set which exists already is kept under; it follows the files' sizes and times."""
        source = file_digest(section.archive) if section.archive else _stamp(section)
        about = section.model_dump(mode="json")
        return f"sets/{section.name}-{digest_of(source, about, self.count, self._seed, self._encoding, self._labels)}"

    def stored(self, section: SetSection) -> EncodedSet:
        """The images of a set that exists already: at most ``count``, in a random order."""
        if section.archive is not None:
            whole = self._read_archive(self._folder, section.archive)
            rows = shuffled_rows(len(whole), self.count, self._seed)
            return EncodedSet(whole.images[rows], tuple(whole.accepted[row] for row in rows), whole.space)
        images = load_layout(section, self._labels)
        images = images.subset(shuffled_rows(len(images), self.count, self._seed))
        config = replace(self._config, crop_pct=1.0) if images.precropped else self._config
        encoded = encode_images((picture for picture, _ in images), config)
        return EncodedSet(encoded, images.accepted, LabelSpace(images.columns, self._num_classes))

    @property
    def _idx(self) -> Path:
        if self._data.idx is None:
            raise ValueError("the study names no idx folder")
        return self._data.idx

    @property
    def _encoding(self) -> tuple[object, ...]:
        """What decides the encoded pixels; normalisation comes later."""
        config = self._config
        return (config.input_size, config.interpolation, config.crop_pct, config.crop_mode)


def idx_digest(folder: Path) -> str:
    """A digest of the test files of an IDX folder. Raises FileNotFoundError where there are none."""
    files = sorted(path for path in folder.glob("t10k-*") if path.is_file())
    if not files:
        raise FileNotFoundError(f"{folder} has no test images (t10k-*): give the folder of the IDX files")
    return digest_of([file_digest(path) for path in files])


def corrupted_shifts(data: DataSection) -> tuple[Shift, ...]:
    """The clean images, then each corruption at each severity; none without an IDX folder."""
    if data.idx is None:
        return ()
    made = [
        Shift(corrupted_name(name, severity), IDX_FAMILY, name, severity)
        for name in data.corruption_names
        for severity in data.severities
    ]
    return (Shift(CLEAN, IDX_FAMILY), *made)


def stored_shift(section: SetSection) -> Shift:
    """The shift of a set that exists already; corruptions of one folder are of the same images."""
    family = f"{section.layout}:{section.folder}" if section.layout in {"imagenet_c", "cifar10_c"} else section.name
    return Shift(section.name, family, section.corruption, section.severity)


def load_layout(section: SetSection, label_names: list[str]) -> ImageSet:
    """A data set as it lies on disk.

    Raises FileNotFoundError where nothing is there, ValueError for class folders that the model does not know.
    """
    folder = section.folder or Path()
    if section.layout == "cifar10_c":
        return cifar.load_cifar10_c(folder, section.corruption or "", section.severity or 0)
    if section.layout == "imagenet_c":
        return imagenet.load_imagenet_c(folder, section.corruption or "", section.severity or 0)
    if section.layout == "class_folders":
        return _class_folders(folder, label_names)
    loaders: dict[str | None, Callable[[Path], ImageSet]] = {
        "imagenet": imagenet.load_imagenet,
        "imagenet_v2": imagenet.load_imagenet_v2,
        "imagenet_a": imagenet.load_imagenet_a,
        "imagenet_r": imagenet.load_imagenet_r,
        "conflict_stimuli": imagenet.load_conflict_stimuli,
    }
    return loaders[section.layout](folder)


def _class_folders(folder: Path, label_names: list[str]) -> ImageSet:
    names = tuple(label_names) or tuple(path.name for path in class_folders(folder))
    columns = tuple((index,) for index in range(len(names)))
    return load_class_folders(folder, {name: index for index, name in enumerate(names)}, columns, names)


def _stamp(section: SetSection) -> list[tuple[str, int, int]]:
    folder = section.folder or Path()
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is no folder: correct the set {section.name!r}")
    return [(str(path.relative_to(folder)), *_state(path)) for path in _files(folder, section)]


def _files(folder: Path, section: SetSection) -> Iterator[Path]:
    if section.layout == "cifar10_c":
        yield from (folder / f"{section.corruption}.npy", folder / "labels.npy")
    else:
        inner = (
            folder / (section.corruption or "") / str(section.severity) if section.layout == "imagenet_c" else folder
        )
        yield from sorted(path for path in inner.rglob("*") if path.is_file())


def _state(path: Path) -> tuple[int, int]:
    status = path.stat()
    return status.st_size, status.st_mtime_ns
