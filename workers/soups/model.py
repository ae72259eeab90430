"""Models of timm, built from an ingredient's configuration without loading weights."""

import difflib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import timm
import torch
from torch import nn
from torch.nn.modules.module import register_module_module_registration_hook

import workers.architectures  # noqa: F401 - registers what timm lacks
from workers.soups.errors import IngredientError

TimmConfig = dict[str, Any]
"""The contents of an ingredient's ``config.json``, as timm writes it."""

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
MOST_MODULES = 10_000
"""Five times as many as timm's largest architectures have; a configuration could ask for any number of blocks."""


def read_config(folder: Path) -> TimmConfig:
    """Read ``config.json`` of a timm folder.

    Raises IngredientError (``config_missing``, ``config_malformed``).
    """
    path = folder / CONFIG_FILE
    if not path.is_file():
        raise IngredientError(
            "config_missing", f"{folder} has no {CONFIG_FILE}: save the model with timm's save_for_hf"
        )
    try:
        config = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise IngredientError("config_malformed", f"{path} is not JSON: {error}") from error
    if not isinstance(config, dict) or not isinstance(config.get("architecture"), str):
        raise IngredientError("config_malformed", f'{path} does not name an "architecture" of timm')
    return config


def check_architecture(name: str) -> None:
    """Raise IngredientError (``unknown_architecture``), naming close ones, unless timm has this architecture."""
    if timm.is_model(name):
        return
    close = difflib.get_close_matches(name, timm.list_models(), n=3)
    hint = f"did you mean {' or '.join(close)}?" if close else "timm.list_models() lists those it knows"
    raise IngredientError("unknown_architecture", f"timm {timm.__version__} has no architecture {name!r}: {hint}")


def build_model(config: TimmConfig, device: torch.device | str = "cpu") -> nn.Module:
    """Build the architecture that ``config`` describes, in evaluation mode, with weights that mean nothing.

    ``device`` may be ``meta``: then no memory is taken. The model is the one that
    ``timm.create_model("local-dir:...")`` builds from the same configuration.

    Raises IngredientError (``unknown_architecture``, ``model_not_buildable``).
    """
    check_architecture(config["architecture"])
    with TemporaryDirectory() as folder:
        (Path(folder) / CONFIG_FILE).write_text(json.dumps(config), encoding="utf-8")
        try:
            with torch.device(device), _bounded():
                model = timm.create_model(f"local-dir:{folder}", pretrained=False)
        except (RuntimeError, TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
            message = f"timm cannot build {config['architecture']!r} with this {CONFIG_FILE}: {error}"
            raise IngredientError("model_not_buildable", message) from error
    if not isinstance(model, nn.Module):
        raise IngredientError("model_not_buildable", f"timm built no model for {config['architecture']!r}")
    return model.eval()


@contextmanager
def _bounded() -> Iterator[None]:
    """Raise ValueError inside as soon as more than MOST_MODULES modules have been put together."""
    numbers = count(1)

    def check(*_: object) -> None:
        if next(numbers) > MOST_MODULES:
            raise ValueError(f"it has more than {MOST_MODULES} modules: ask for fewer blocks")

    hook = register_module_module_registration_hook(check)
    try:
        yield
    finally:
        hook.remove()


def count_classes(model: nn.Module) -> int:
    """Number of logits of a model that timm built."""
    return int(model.num_classes)  # type: ignore[arg-type]
