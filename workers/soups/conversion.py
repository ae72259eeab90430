"""Conversion of state_dict files into timm folders."""

import argparse
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

EMA_KEYS = ("state_dict_ema", "model_ema", "ema")
KEYS = ("state_dict", "model_state_dict", "model", "net")
PREFIXES = ("module.", "_orig_mod.")
_AVERAGED = "n_averaged"
"""torch's AveragedModel counts its updates in a tensor beside the model's own."""


class ConversionError(ValueError):
    """The file is no state_dict that can be read without running code from it."""


@dataclass(frozen=True)
class Weights:
    """The weights of a checkpoint: those under ``key``, None where the tensors are the file itself.

    ``left`` is the key of the other weights of the same model in the file, with or without the moving average.
    """

    key: str | None
    left: str | None

    def __str__(self) -> str:
        average = " (the moving average, EMA)" if self.key in EMA_KEYS else ""
        return "the plain state_dict" if self.key is None else f"{self.key}{average}"


def convert_state_dict(source: Path, config: Path, target: Path, *, use_ema: bool = True) -> Weights:
    """Write ``source``, a file that ``torch.load(weights_only=True)`` reads, as a timm folder at ``target``.

    The tensors may be the file itself or lie under one of the keys that training scripts use (``state_dict``,
    ``model``, ...). Where the file also has their exponential moving average, that is taken, as timm does, unless
    ``use_ema`` is false. Prefixes of DataParallel and of torch.compile are taken off. ``config`` is copied as
    config.json. Returns which weights were taken.

    Raises ConversionError when the file holds other objects than tensors, no tensors, no other weights than the
    average that ``use_ema`` excludes, or the config is not JSON; OSError when the disk fails.
    """
    content = _loaded(source)
    weights = _choice(content, source, use_ema)
    tensors = _tensors(content, weights, source)
    try:
        json.loads(config.read_text())
    except (ValueError, OSError) as error:
        raise ConversionError(f"{config} is not a JSON file: {error}") from error
    target.mkdir(parents=True)
    shutil.copyfile(config, target / "config.json")
    save_file({name: tensor.contiguous().clone() for name, tensor in tensors.items()}, target / "model.safetensors")
    return weights


def _loaded(source: Path) -> Any:
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):  # timm keeps its arguments beside the weights
            return torch.load(source, map_location="cpu", weights_only=True)
    except Exception as error:  # broken bytes make torch raise whatever they cause
        if isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno):
            raise
        raise ConversionError(
            f"{source} cannot be read as weights alone, and soupsearch runs no code from checkpoints: save its "
            f"state_dict with torch.save(model.state_dict(), ...) first ({type(error).__name__})"
        ) from error


def _choice(content: Any, source: Path, use_ema: bool) -> Weights:
    present = content if isinstance(content, Mapping) else {}
    average, trained = (
        next((key for key in keys if isinstance(present.get(key), Mapping)), None) for keys in (EMA_KEYS, KEYS)
    )
    if average is None or (use_ema and trained is None):
        return Weights(average or trained, None)
    if trained is None:
        raise ConversionError(f"{source} holds no weights but {average}, a moving average: leave --no-ema out")
    return Weights(average, trained) if use_ema else Weights(trained, average)


def _tensors(content: Any, weights: Weights, source: Path) -> dict[str, Tensor]:
    content = content if weights.key is None else content[weights.key]
    if not isinstance(content, Mapping) or not content:
        raise ConversionError(f"{source} holds no state_dict: save the one of your model with torch.save")
    strange = [str(name) for name, value in content.items() if not _is_dense(value)]
    if strange:
        other = f", or take {weights.left} by --no-ema" if weights.left and weights.key in EMA_KEYS else ""
        raise ConversionError(
            f"{source} holds {strange[0]!r}, which is no dense tensor: save the state_dict alone{other}"
        )
    tensors = {str(name): value.detach() for name, value in content.items()}
    if _AVERAGED in tensors and all(name.startswith("module.") for name in tensors if name != _AVERAGED):
        del tensors[_AVERAGED]
    return _bare(tensors)


def _is_dense(value: Any) -> bool:
    return isinstance(value, Tensor) and value.layout == torch.strided and not value.is_quantized


def _bare(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Without the prefixes that all names share, in whatever order they were put on."""
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in tensors):
            return _bare({name.removeprefix(prefix): tensor for name, tensor in tensors.items()})
    return tensors
