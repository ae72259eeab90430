"""What evaluators need for a study: models as one stack, and encoded images with their labels."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.study.store import Arrays, Store
from workers.evaluation.sets import EncodedSet
from workers.ray_runtime.task import SetPart
from workers.soups.stack import IngredientStack


@dataclass(frozen=True)
class StackInput:
    """Models of one architecture: timm folders in order. ``digest`` covers their files."""

    folders: tuple[Path, ...]
    names: tuple[str, ...]
    digest: str

    @property
    def key(self) -> str:
        """The key of the arrays in a task."""
        return f"stack {self.digest}"

    def arrays(self) -> dict[str, Any]:
        """The models as one matrix, for evaluators. Raises IngredientError."""
        return IngredientStack.from_folders(self.folders, self.names).arrays()


def idx_images(folder: Path, count: int, seed: int) -> LabelledImages:
    """The first ``count`` test images of an IDX folder in a random order.

    Raises FileNotFoundError, and ValueError if a file is damaged.
    """
    data = load_idx_folder(folder, "test")
    rows = shuffled_rows(len(data), count, seed)
    return LabelledImages(data.images[rows], data.labels[rows])


def shuffled_rows(total: int, count: int, seed: int) -> list[int]:
    """The first ``count`` of ``total`` rows in a random order that depends on ``total`` and ``seed``."""
    rows: list[int] = np.random.default_rng(seed).permutation(total)[:count].tolist()
    return rows


def set_arrays(images: EncodedSet) -> Arrays:
    """A set as nothing but arrays."""
    labels = {"accepted": images.labels, "columns": images.space.columns, "num_classes": images.space.num_classes}
    return {"images": images.images, "labels": np.array(json.dumps(labels))}


def set_part(store: Store, name: str) -> SetPart:
    """All images of a set in ``store``, of which only the labels are read; ``name`` is the key of the images."""
    labels = json.loads(str(store.read(name, "labels")["labels"]))
    accepted, columns = (tuple(map(tuple, labels[each])) for each in ("accepted", "columns"))
    return SetPart(name, tuple(range(len(accepted))), accepted, columns, labels["num_classes"])
