"""Conversion of state_dict files into timm folders."""

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

WRAPPERS = ("state_dict", "model_state_dict", "model", "ema", "net")
PREFIXES = ("module.", "_orig_mod.")


class ConversionError(ValueError):
    """The file is no state_dict that can be read without running code from it."""


def convert_state_dict(source: Path, config: Path, target: Path) -> None:
    """Write ``source``, a file that ``torch.load(weights_only=True)`` reads, as a timm folder at ``target``.

    The tensors may be the file itself or lie under one of the keys that training scripts use (``state_dict``,
    ``model``, ...); prefixes of DataParallel and of torch.compile are taken off. ``config`` is copied as config.json.

    Raises ConversionError when the file holds other objects than tensors, no tensors, or the config is not JSON.
    """
    tensors = _tensors(_loaded(source), source)
    try:
        json.loads(config.read_text())
    except (ValueError, OSError) as error:
        raise ConversionError(f"{config} is not a JSON file: {error}") from error
    target.mkdir(parents=True)
    shutil.copyfile(config, target / "config.json")
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, target / "model.safetensors")


def _loaded(source: Path) -> Any:
    try:
        return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make torch raise whatever they cause
        raise ConversionError(
            f"{source} cannot be read as weights alone, and soupsearch runs no code from checkpoints: save its "
            f"state_dict with torch.save(model.state_dict(), ...) first ({type(error).__name__})"
        ) from error


def _tensors(content: Any, source: Path) -> dict[str, Tensor]:
    for key in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    if not isinstance(content, Mapping) or not content:
        raise ConversionError(f"{source} holds no state_dict: save the one of your model with torch.save")
    strange = [str(name) for name, value in content.items() if not _is_dense(value)]
    if strange:
        raise ConversionError(f"{source} holds {strange[0]!r}, which is no dense tensor: save the state_dict alone")
    return _bare({str(name): value.detach() for name, value in content.items()})


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that all names share, in whatever order they were put on."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _bare({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors
