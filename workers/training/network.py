"""Networks as a recipe describes them, and the timm folders that ingredients are kept in."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.data
import torch
from timm.models import save_for_hf
from torch import nn

from workers.training.recipe import ModelRecipe

_OTHER_WEIGHTS = (
    "tag",
    "license",
    "origin_url",
    "paper_ids",
    "paper_name",
    "notes",
    "test_input_size",
    "test_crop_pct",
)
"""What timm's configuration of an architecture says of published weights, which these are not."""


def create_network(recipe: ModelRecipe, seed: int) -> nn.Module:
    """A freshly initialised network; equal seeds give equal parameters."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        arguments = {"in_chans": len(recipe.mean), "num_classes": len(recipe.label_names), **recipe.arguments}
        network: nn.Module = timm.create_model(recipe.architecture, **arguments)
    published: dict[str, Any] = vars(network)["pretrained_cfg"]
    for key in _OTHER_WEIGHTS:
        published.pop(key, None)
    if recipe.channels_last:
        network = network.to(memory_format=torch.channels_last)
    return network


def load_ingredient(folder: Path) -> nn.Module:
    """The network of a timm folder (``config.json`` and ``model.safetensors``)."""
    network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return network


def load_base(network: nn.Module, recipe: ModelRecipe, folder: Path) -> None:
    """Give ``network``, made by ``recipe``, the weights of the timm folder ``folder``.

    Raises ValueError where the folder's model has other tensors, classes or normalisation: fine-tunes that differ
    from their base in these cannot be mixed with it.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = config.get("label_names")
    if names is not None and tuple(names) != recipe.label_names:
        raise ValueError(f"{folder} has other label_names than the recipe, or another order: make them the same")
    base = load_ingredient(folder)
    known = timm.data.resolve_model_data_config(base)
    for name, given in (("mean", recipe.mean), ("std", recipe.std)):
        if len(known[name]) != len(given) or not np.allclose(known[name], given, atol=1e-4):
            raise ValueError(f"{folder} normalises by {name} {list(known[name])}: write model.{name} so in the recipe")
    try:
        network.load_state_dict(base.state_dict())
    except RuntimeError as error:
        raise ValueError(f"{folder} is not of the architecture and arguments of the recipe's model: {error}") from error


def save_ingredient(
    network: nn.Module,
    recipe: ModelRecipe,
    image_size: tuple[int, int],
    folder: Path,
    *,
    crop_pct: float = 1.0,
    interpolation: str = "bicubic",
) -> None:
    """Write ``network`` as a timm folder; ``image_size`` is (height, width)."""
    contiguous = network.to(memory_format=torch.contiguous_format)
    save_for_hf(
        contiguous,
        str(folder),
        safe_serialization=True,
        model_config={"label_names": list(recipe.label_names)},
        data_config={
            "input_size": (len(recipe.mean), *image_size),
            "mean": recipe.mean,
            "std": recipe.std,
            "interpolation": interpolation,
            "crop_pct": crop_pct,
        },
    )
