"""The inputs of jobs: loaded where a job runs, or loaded once and sent there."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np

from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.study.store import Arrays
from workers.evaluation.labels import LabelSpace
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack


class Input(ABC):
    """Identifies something that jobs need. Hashable and small; equal inputs load equal values."""

    @abstractmethod
    def load(self) -> Any:
        """Read the value from disk."""


@dataclass(frozen=True)
class StackInput(Input):
    """Models of one architecture: timm folders in order. ``digest`` covers their files."""

    folders: tuple[Path, ...]
    names: tuple[str, ...]
    digest: str

    def load(self) -> IngredientStack:
        """The models as one matrix. Raises IngredientError."""
        return IngredientStack.from_folders(self.folders, self.names)


@dataclass(frozen=True)
class IdxInput(Input):
    """Some test images of an IDX folder: the first ``count`` in a random order."""

    folder: Path
    count: int
    seed: int

    def load(self) -> LabelledImages:
        """The images, in that order. Raises FileNotFoundError, and ValueError if a file is damaged."""
        data = load_idx_folder(self.folder, "test")
        rows = shuffled_rows(len(data), self.count, self.seed)
        return LabelledImages(data.images[rows], data.labels[rows])


@dataclass(frozen=True)
class SetInput(Input):
    """Encoded images and their labels in a file that ``set_arrays`` made."""

    path: Path

    def load(self) -> EncodedSet:
        """The set."""
        with np.load(self.path, allow_pickle=False) as content:
            return EncodedSet.from_arrays({"images": content["images"], **_labels(str(content["labels"]))})


@dataclass(frozen=True)
class SetLabels:
    """The labels of an encoded set: for each image its accepted columns, and how many columns compete."""

    accepted: tuple[tuple[int, ...], ...]
    columns: int

    @classmethod
    def read(cls, path: Path) -> Self:
        """From a file that ``set_arrays`` made, without its images."""
        with np.load(path, allow_pickle=False) as content:
            labels = _labels(str(content["labels"]))
        return cls(labels["accepted"], len(labels["columns"]))


def shuffled_rows(total: int, count: int, seed: int) -> list[int]:
    """The first ``count`` of ``total`` rows in a random order that depends on ``total`` and ``seed``."""
    rows: list[int] = np.random.default_rng(seed).permutation(total)[:count].tolist()
    return rows


def set_arrays(images: EncodedSet) -> Arrays:
    """A set as nothing but arrays."""
    labels = {"accepted": images.labels, "columns": images.space.columns, "num_classes": images.space.num_classes}
    return {"images": images.images, "labels": np.array(json.dumps(labels))}


def _labels(text: str) -> dict[str, Any]:
    labels = json.loads(text)
    return {
        "accepted": tuple(map(tuple, labels["accepted"])),
        "columns": LabelSpace(labels["columns"], labels["num_classes"]).columns,
        "num_classes": labels["num_classes"],
    }
