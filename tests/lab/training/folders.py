"""Image files laid out as ImageNet's, and recipes for them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from lab.data.label_maps import label_maps
from lab.training.image_folder import ImageFolder
from lab.training.recipe import DataRecipe, ModelRecipe

WNIDS = label_maps().wnids[:4]


def write_image_folder(folder: Path, each: int = 6) -> Path:
    """``train`` and ``val`` with JPEG files of several sizes, whose brightness tells their class."""
    rng = np.random.default_rng(0)
    for split in ("train", "val"):
        for label, wnid in enumerate(WNIDS):
            (folder / split / wnid).mkdir(parents=True)
            for number in range(each):
                height, width = rng.integers(36, 60, 2)
                pixels = rng.integers(0, 60, (height, width, 3)) + 60 * label
                image = Image.fromarray(pixels.clip(0, 255).astype(np.uint8))
                image.save(folder / split / wnid / f"{split}_{number:08}.JPEG", quality=95)
    return folder


def colour_model(**changes: Any) -> ModelRecipe:
    content: dict[str, Any] = {
        "architecture": "resnet18",
        "arguments": {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]},
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
        "label_names": "imagenet",
    }
    return ModelRecipe.model_validate(content | changes)


def folder_data(folder: Path, **changes: Any) -> DataRecipe:
    content = {"format": "folder", "folder": str(folder), "image_size": 32, "workers": 0}
    return DataRecipe.model_validate(content | changes)


def image_folder(folder: Path, **changes: Any) -> ImageFolder:
    return ImageFolder(folder_data(folder, **changes), colour_model())
