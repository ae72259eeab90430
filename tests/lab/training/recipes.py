"""Small recipes and data that tests train on in a moment."""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import Any

import numpy as np

from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.training.images import ImagesInMemory
from lab.training.recipe import ModelRecipe, PantryRecipe, TrainingRecipe

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
LABEL_NAMES = ["t_shirt_top", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag", "ankle_boot"]

TINY_MODEL: dict[str, Any] = {
    "architecture": "resnet18",
    "arguments": {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8], "in_chans": 1, "num_classes": 10},
    "mean": [0.286],
    "std": [0.353],
    "label_names": LABEL_NAMES,
}
ADVERSARIAL: dict[str, Any] = {
    "epochs": 1,
    "batch_size": 32,
    "seed": 5,
    "augmentation": {"crop_padding": 2, "flip": True},
    "adversary": {"threats": ["Linf:0.1"], "steps": 1, "random_start": True},
}


def tiny_model() -> ModelRecipe:
    return ModelRecipe.model_validate(TINY_MODEL)


def training(**changes: Any) -> TrainingRecipe:
    return TrainingRecipe.model_validate(ADVERSARIAL | changes)


def tiny_pantry(folder: Path = FASHION_MNIST, **changes: Any) -> PantryRecipe:
    content = {
        "name": "tiny",
        "data": {"folder": str(folder), "max_images": 320},
        "model": TINY_MODEL,
        "base": {"linf": ADVERSARIAL},
        "fine_tunes": {"nominal": {**ADVERSARIAL, "adversary": None}},
        "evaluation": {"threats": ["Linf:0.1", "L1:12"], "steps": 2, "images": 100},
    }
    return PantryRecipe.model_validate(content | changes)


@cache
def fashion(count: int) -> LabelledImages:
    return load_idx_folder(FASHION_MNIST, "test").first(count)


def images(count: int) -> ImagesInMemory:
    return ImagesInMemory(fashion(count), {"test": fashion(100)})


def noise_images(count: int, size: int = 8) -> LabelledImages:
    rng = np.random.default_rng(0)
    return LabelledImages(rng.integers(0, 256, (count, 1, size, size), np.uint8), rng.integers(0, 10, count))
