"""Networks as a recipe describes them, checked for numbers that are not finite, and the timm folders that keep them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import timm
import timm.data
import torch
from timm.models import save_for_hf
from torch import Tensor, nn

from lab.training.recipe import ModelRecipe

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
"""The parts of timm's configuration of an architecture that describe published weights, which ours are not."""


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


def check_network(recipe: ModelRecipe, image_size: tuple[int, int]) -> None:
    """Build the network and pass an image of ``image_size``, (height, width), through it.

    Uses torch's meta device, which needs no memory or arithmetic, or the CPU for the few networks that cannot be built
    there. Raises ValueError, with timm's own reason, if that fails or there is not one logit per label name.
    """
    try:
        logits = _logits_shape(recipe, image_size, "meta")
    except Exception:  # noqa: BLE001 - what is wrong is told by the second try
        logits = _told_logits_shape(recipe, image_size)
    if logits != (1, len(recipe.label_names)):
        raise ValueError(
            f"model.arguments: {recipe.architecture} gives an output of shape {logits} for one image, and "
            f"model.label_names has {len(recipe.label_names)} names"
        )


def _told_logits_shape(recipe: ModelRecipe, image_size: tuple[int, int]) -> tuple[int, ...]:
    try:
        return _logits_shape(recipe, image_size, "cpu")
    except Exception as error:
        height, width = image_size
        raise ValueError(
            f"model.arguments: {recipe.architecture} with {recipe.arguments or 'none'} does not take images of "
            f"{len(recipe.mean)} x {height} x {width} ({type(error).__name__}: {error})"
        ) from error


@torch.no_grad()
def _logits_shape(recipe: ModelRecipe, image_size: tuple[int, int], device: str) -> tuple[int, ...]:
    with torch.device(device):
        network = create_network(recipe, seed=0).eval()
        return tuple(network(torch.zeros(1, len(recipe.mean), *image_size)).shape)


def load_ingredient(folder: Path) -> nn.Module:
    """The network of a timm folder (``config.json`` and ``model.safetensors``)."""
    network: nn.Module = timm.create_model(f"local-dir:{folder}", pretrained=True)
    return network


def load_base(network: nn.Module, recipe: ModelRecipe, folder: Path) -> None:
    """Load the weights of the timm folder ``folder`` into ``network``, which ``recipe`` made.

    Raises ValueError if the folder's model has other tensors, classes or normalisation: a fine-tune that differs from
    its base in these cannot be mixed with it.
    """
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    names = config.get("label_names")
    if names is not None and tuple(names) != recipe.label_names:
        raise ValueError(
            f"the label_names in {folder} differ from the recipe's, or are in another order: make them the same"
        )
    base = load_ingredient(folder)
    known = timm.data.resolve_model_data_config(base)
    for name, given in (("mean", recipe.mean), ("std", recipe.std)):
        if len(known[name]) != len(given) or not np.allclose(known[name], given, atol=1e-4):
            raise ValueError(
                f"{folder} normalises by {name} {list(known[name])}: set model.{name} to this in the recipe"
            )
    if (broken := not_finite(base)) is not None:
        raise ValueError(f"{folder} holds a {broken} that is not finite: train that model again")
    try:
        network.load_state_dict(base.state_dict())
    except RuntimeError as error:
        raise ValueError(_misfit(folder, network, base)) from error


def _misfit(folder: Path, network: nn.Module, base: nn.Module) -> str:
    """How a base differs from the recipe's network: counts, and the first few tensors of each kind."""
    wanted, found = (
        {key: tuple(tensor.shape) for key, tensor in each.state_dict().items()} for each in (network, base)
    )
    kinds = {
        "too many": [key for key in found if key not in wanted],
        "missing": [key for key in wanted if key not in found],
        "of another shape": [key for key, shape in wanted.items() if found.get(key, shape) != shape],
    }
    told = "; ".join(f"{len(keys)} tensors {kind} ({_few(keys)})" for kind, keys in kinds.items() if keys)
    return f"{folder} is not of the architecture and arguments of the recipe's model: {told}"


def _few(names: list[str]) -> str:
    return ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")


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


def diverged(sign: str) -> ValueError:
    """The error for a training that shows ``sign`` of divergence; it says what to change."""
    return ValueError(
        f"the training diverged, {sign}: lower optimizer.learning_rate, set optimizer.clip_norm, "
        "or lengthen optimizer.warmup"
    )


def not_finite(network: nn.Module) -> str | None:
    """The name of the first parameter or buffer of ``network`` that holds a non-finite value, or None."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return None


@torch.no_grad()
def check_logits(model: nn.Module, images: Tensor) -> None:
    """Raise ValueError if ``model``, in eval mode, gives non-finite logits for ``images`` (N, C, H, W)."""
    if not torch.isfinite(model(images)).all():
        raise diverged("the network's logits for held-out images are not finite")
