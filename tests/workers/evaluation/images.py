"""Images and small pantries that several tests evaluate."""

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tests.workers.soups.folders import RESNET, VIT, config_of, write_ingredients
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack

CLASSES = 5


def random_images(count: int, size: int = 28, seed: int = 0) -> NDArray[np.uint8]:
    """uint8 of shape (count, 1, size, size)."""
    return np.random.default_rng(seed).integers(0, 256, (count, 1, size, size), dtype=np.uint8)


def random_set(count: int, seed: int = 0) -> EncodedSet:
    """Random images with random labels of five classes."""
    labels = np.random.default_rng(seed + 1).integers(0, CLASSES, count)
    return EncodedSet.of_classes(random_images(count, seed=seed), labels.tolist(), CLASSES)


def resnet_stack(root: Path, count: int = 3) -> IngredientStack:
    """A pantry with BatchNorm."""
    return IngredientStack.from_folders(write_ingredients(root, config_of(RESNET), count))


def vit_stack(root: Path, count: int = 3) -> IngredientStack:
    """A pantry without BatchNorm."""
    return IngredientStack.from_folders(write_ingredients(root, config_of(VIT), count))
