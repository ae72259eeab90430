"""The ``config.json`` that timm writes beside a model's weights."""

import json
import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from service.errors import InvalidPantry

CONFIG_BYTES = 16 * 2**20
NORMALISATION_TOLERANCE = 1e-4
"""Largest difference of means and deviations, in units of the pixel range, as between a fine-tune and its base."""
MOST_CHANNELS = 1024
MOST_CLASSES = 2**20
MOST_PIXELS = 2**26
"""Over all channels of an image resized for a model, before cropping: 3 x 4096 x 4096 has fewer."""
_LARGEST_ARGUMENT = 2**20
_MOST_ARGUMENTS = 4096
_CROPS = (0.1, 2.0)
_MEANS = (-1e3, 1e3)
_DEVIATIONS = (1e-6, 1e3)
_ARCHITECTURE = re.compile(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?")
_LOADING_ARGUMENTS = frozenset(
    {"pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir"}
)
_PREPROCESSING = (
    "input_size",
    "mean",
    "std",
    "interpolation",
    "crop_pct",
    "crop_mode",
    "test_input_size",
    "test_crop_pct",
)


@dataclass(frozen=True)
class ModelConfig:
    """What an ingredient's ``config.json`` says. ``input_size`` is channels, height, width."""

    architecture: str
    num_classes: int
    model_args: dict[str, Any]
    input_size: tuple[int, int, int]
    preprocessing: dict[str, Any]
    label_names: tuple[str, ...] | None


def read_config(path: Path, name: str) -> ModelConfig:
    """The configuration at ``path``, in timm's current or older layout.

    Raises InvalidPantry naming the ingredient ``name``: ``invalid_config``, also for sizes beyond the limits of this
    module, or ``unsafe_config`` if it would make timm load weights from elsewhere.
    """
    document = read_object(path, name)
    try:
        return _parse(document, name)
    except (KeyError, TypeError, ValueError, AttributeError, RecursionError) as error:
        reason = f"{error.args[0]!r} is missing" if isinstance(error, KeyError) else str(error)
        raise InvalidPantry(
            f"config.json of ingredient {name!r} is not as timm writes it ({reason}): "
            "save the model with timm.models.save_for_hf",
            code="invalid_config",
        ) from error


def read_object(path: Path, name: str) -> dict[str, Any]:
    """The JSON object at ``path``. Raises InvalidPantry (``invalid_config``) naming the ingredient."""
    try:
        if path.stat().st_size > CONFIG_BYTES:
            msg = f"it has more than {CONFIG_BYTES} bytes"
            raise ValueError(msg)
        document = json.loads(path.read_text("utf-8"))
        if not isinstance(document, dict):
            msg = "it is not an object"
            raise TypeError(msg)
    except (ValueError, TypeError, RecursionError) as error:
        raise InvalidPantry(
            f"{path.name} of ingredient {name!r} is not a JSON object ({error}): write it again", code="invalid_config"
        ) from error
    return document


def _parse(document: dict[str, Any], name: str) -> ModelConfig:
    pretrained: dict[str, Any] = document.get("pretrained_cfg", document)
    model_args = dict(document.get("model_args") or {})
    architecture = str(document["architecture"])
    _check_safe(architecture, model_args, pretrained, name)
    _check_arguments(model_args)
    _check_normalisation(pretrained)
    num_classes = _count(document.get("num_classes", pretrained.get("num_classes")), "num_classes", MOST_CLASSES)
    names = document.get("label_names", pretrained.get("label_names"))
    return ModelConfig(
        architecture=architecture,
        num_classes=num_classes,
        model_args=model_args,
        input_size=_input_size(pretrained, model_args),
        preprocessing={key: pretrained[key] for key in _PREPROCESSING if pretrained.get(key) is not None},
        label_names=_label_names(names, num_classes),
    )


def _check_safe(architecture: str, model_args: dict[str, Any], pretrained: dict[str, Any], name: str) -> None:
    loading = sorted(_LOADING_ARGUMENTS.intersection(model_args))
    if _ARCHITECTURE.fullmatch(architecture) and not loading and not pretrained.get("custom_load"):
        return
    what = f"model_args.{loading[0]}" if loading else f"custom_load or the architecture {architecture!r}"
    raise InvalidPantry(
        f"{what} in config.json of ingredient {name!r} would load weights from elsewhere: remove it, "
        "and name timm's architecture plainly",
        code="unsafe_config",
    )


def _check_arguments(model_args: dict[str, Any]) -> None:
    """Refuse arguments that no model needs and that could exhaust memory or time."""
    for number, argument in enumerate(_leaves(model_args)):
        if number == _MOST_ARGUMENTS:
            msg = f"model_args holds more than {_MOST_ARGUMENTS} values"
            raise ValueError(msg)
        if isinstance(argument, int | float) and not -_LARGEST_ARGUMENT <= argument <= _LARGEST_ARGUMENT:
            msg = f"a number in model_args is not between {-_LARGEST_ARGUMENT} and {_LARGEST_ARGUMENT}"
            raise ValueError(msg)


def _leaves(value: object) -> Iterator[object]:
    if isinstance(value, dict | list):
        for each in value.values() if isinstance(value, dict) else value:
            yield from _leaves(each)
    else:
        yield value


def _check_normalisation(pretrained: dict[str, Any]) -> None:
    for key, bounds in (("mean", _MEANS), ("std", _DEVIATIONS)):
        values = pretrained.get(key)
        if values is None:
            continue
        if not isinstance(values, list) or not 1 <= len(values) <= MOST_CHANNELS:
            msg = f"{key} must be a list of one number for each channel"
            raise TypeError(msg)
        for value in values:
            _number(value, key, bounds)


def _number(value: object, key: str, bounds: tuple[float, float]) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool) or not bounds[0] <= value <= bounds[1]:
        msg = f"{key} must be between {bounds[0]:g} and {bounds[1]:g}"
        raise ValueError(msg)
    return value


def _count(value: object, key: str, most: int) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most:
        msg = f"{key} must be a whole number from 1 to {most}"
        raise ValueError(msg)
    return value


def _input_size(pretrained: dict[str, Any], model_args: dict[str, Any]) -> tuple[int, int, int]:
    """The value as timm reads it: the model's own arguments take precedence over the weights' origin."""
    channels, height, width = pretrained.get("input_size") or (3, 224, 224)
    channels = model_args.get("in_chans") or channels
    size = model_args.get("img_size")
    if size is not None and pretrained.get("fixed_input_size"):
        height, width = (size, size) if isinstance(size, int) else size
    crops = [pretrained[key] for key in ("crop_pct", "test_crop_pct") if pretrained.get(key) is not None]
    crop = min([1.0, *(_number(each, "crop_pct", _CROPS) for each in crops)])
    input_size = _sized(channels, height, width, crop)
    if pretrained.get("test_input_size"):
        test_channels, test_height, test_width = pretrained["test_input_size"]
        _sized(test_channels, test_height, test_width, crop)
    return input_size


def _sized(channels: object, height: object, width: object, crop: float) -> tuple[int, int, int]:
    size = (
        _count(channels, "in_chans", MOST_CHANNELS),
        _count(height, "height", MOST_PIXELS),
        _count(width, "width", MOST_PIXELS),
    )
    if math.prod(size) / crop**2 > MOST_PIXELS:
        msg = f"images of {size[0]} x {size[1]} x {size[2]} with crop_pct {crop:g} have more than {MOST_PIXELS} pixels"
        raise ValueError(msg)
    return size


def _label_names(names: object, num_classes: int) -> tuple[str, ...] | None:
    if isinstance(names, dict):
        names = [names.get(str(index)) for index in range(num_classes)] if len(names) == num_classes else None
    if names is None:
        return None
    if not isinstance(names, list) or len(names) != num_classes or not all(isinstance(each, str) for each in names):
        msg = f"label_names must be {num_classes} strings, one for each class"
        raise ValueError(msg)
    return tuple(names)


def check_same_config(first: ModelConfig, other: ModelConfig, names: tuple[str, str]) -> None:
    """Raise InvalidPantry unless two ingredients, named ``names``, are of one model, label space and preprocessing.

    Codes: ``different_architecture``, ``different_labels``, ``different_preprocessing``.
    """
    pair = f"ingredients {names[0]!r} and {names[1]!r}"
    for key in ("architecture", "model_args"):
        if getattr(first, key) != getattr(other, key):
            raise _differ(pair, key, first, other, "different_architecture")
    if first.num_classes != other.num_classes:
        raise _differ(pair, "num_classes", first, other, "different_labels")
    if first.label_names and other.label_names and first.label_names != other.label_names:
        index = next(i for i in range(first.num_classes) if first.label_names[i] != other.label_names[i])
        raise InvalidPantry(
            f"{pair} name class {index} {first.label_names[index]!r} and {other.label_names[index]!r}: "
            "all ingredients must have the same classes in the same order",
            code="different_labels",
        )
    if first.input_size != other.input_size:
        raise _differ(pair, "input_size", first, other, "different_preprocessing")
    if not _alike(first.preprocessing, other.preprocessing):
        raise _differ(pair, "preprocessing", first, other, "different_preprocessing")


def _alike(first: dict[str, Any], other: dict[str, Any]) -> bool:
    """Whether two are equal, apart from differently rounded mean and std."""
    return first.keys() == other.keys() and all(
        _close(value, other[key]) if key in ("mean", "std") else value == other[key] for key, value in first.items()
    )


def _close(first: list[float], other: list[float]) -> bool:
    return len(first) == len(other) and all(
        math.isclose(mine, theirs, rel_tol=0, abs_tol=NORMALISATION_TOLERANCE)
        for mine, theirs in zip(first, other, strict=True)
    )


def _differ(pair: str, key: str, first: ModelConfig, other: ModelConfig, code: str) -> InvalidPantry:
    return InvalidPantry(
        f"{pair} differ in {key} of config.json: {getattr(first, key)!r} and {getattr(other, key)!r}; "
        "all ingredients must be of one model, label space and preprocessing",
        code=code,
    )
