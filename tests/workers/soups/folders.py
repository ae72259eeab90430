"""Ingredients built without a hub: random weights in timm folders."""

import json
from pathlib import Path
from typing import Any

import timm
import torch
from torch import nn

from workers.soups.files import save_model

RESNET: dict[str, Any] = {
    "architecture": "resnet18",
    "model_args": {"layers": [1, 1, 1, 1], "channels": [4, 8, 8, 8], "in_chans": 1},
}
VIT: dict[str, Any] = {
    "architecture": "vit_tiny_patch16_224",
    "model_args": {"img_size": 28, "patch_size": 7, "in_chans": 1, "embed_dim": 16, "depth": 1, "num_heads": 2},
}


def config_of(base: dict[str, Any], size: int = 28, channels: int = 1, classes: int = 5) -> dict[str, Any]:
    """A complete ``config.json``."""
    pretrained = {
        "input_size": [channels, size, size],
        "mean": [0.3] * channels,
        "std": [0.4] * channels,
        "crop_pct": 1.0,
        "interpolation": "bicubic",
        "num_classes": classes,
        "fixed_input_size": base["architecture"].startswith("vit"),
    }
    return {**base, "num_classes": classes, "pretrained_cfg": pretrained}


def build(config: dict[str, Any], seed: int = 0) -> nn.Module:
    """The model of a configuration with random weights, built apart from the package under test."""
    arguments = {"num_classes": config["num_classes"], **config.get("model_args", {})}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model: nn.Module = timm.create_model(config["architecture"], **arguments)
        return model.eval()


def randomise(model: nn.Module, seed: int) -> None:
    """Random weights; BatchNorm statistics as after training."""
    generator = torch.Generator().manual_seed(seed)
    for name, tensor in model.state_dict().items():
        if not tensor.is_floating_point():
            tensor.fill_(seed + 1)
        elif name.endswith("running_var"):
            tensor.copy_(torch.rand(tensor.shape, generator=generator) + 0.5)
        else:
            tensor.add_(0.1 * torch.randn(tensor.shape, generator=generator))


def write_ingredients(root: Path, config: dict[str, Any], count: int, dtype: torch.dtype = torch.float32) -> list[Path]:
    """``count`` folders of one architecture."""
    folders = []
    for seed in range(count):
        model = build(config, seed)
        randomise(model, seed)
        tensors = {k: v.to(dtype) if v.is_floating_point() else v for k, v in model.state_dict().items()}
        folder = root / f"ingredient{seed}"
        save_model(folder, tensors, config, {})
        folders.append(folder)
    return folders


def edit_config(folder: Path, **changes: Any) -> None:
    """Change top-level fields of a folder's configuration."""
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))
