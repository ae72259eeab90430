"""Tiny ingredients, as timm folders."""

import copy
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save_file

CONFIG: dict[str, Any] = {
    "architecture": "resnet18",
    "num_classes": 3,
    "label_names": ["cat", "dog", "yak"],
    "model_args": {"in_chans": 1},
    "pretrained_cfg": {
        "input_size": [1, 8, 8],
        "mean": [0.5],
        "std": [0.25],
        "interpolation": "bilinear",
        "crop_pct": 1.0,
        "fixed_input_size": False,
    },
}


def tensors(seed: int) -> dict[str, NDArray[Any]]:
    numbers = np.random.default_rng(seed)
    return {
        "conv.weight": numbers.normal(size=(4, 1, 3, 3)).astype(np.float32),
        "bn.running_var": np.ones(4, np.float32),
        "bn.num_batches_tracked": np.array(7, np.int64),
        "fc.weight": numbers.normal(size=(3, 4)).astype(np.float32),
        "fc.bias": np.zeros(3, np.float32),
    }


def config(**changes: object) -> dict[str, Any]:
    """CONFIG with other values; a name with two underscores goes one level down, None removes."""
    changed = copy.deepcopy(CONFIG)
    for name, value in changes.items():
        section, _, key = name.partition("__")
        place, key = (changed[section], key) if key else (changed, name)
        if value is None:
            place.pop(key, None)
        else:
            place[key] = value
    return changed


def ingredient(
    folder: Path, values: Mapping[str, NDArray[Any]], document: Mapping[str, Any] | None = None, **files: str
) -> Path:
    """A timm folder; ``files`` adds JSON files by their stem."""
    folder.mkdir(parents=True)
    save_file(dict(values), folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG if document is None else document))
    for name, text in files.items():
        (folder / f"{name}.json").write_text(text)
    return folder


def pair(root: Path) -> dict[str, Path]:
    """Two sound ingredients."""
    return {name: ingredient(root / name, tensors(seed)) for seed, name in enumerate(["linf", "l2"])}


def packed_files(ingredients: Mapping[str, Path], top: str = "") -> dict[str, bytes]:
    """Members of an archive of ``ingredients``."""
    return {
        f"{top}{name}/{path.name}": path.read_bytes()
        for name, folder in ingredients.items()
        for path in sorted(folder.iterdir())
    }
