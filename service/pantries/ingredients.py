"""The ingredients of a pantry in one folder, checked against each other."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from service.errors import InvalidPantry
from service.pantries.checkpoint import Checkpoint, check_finite, check_same_tensors, read_checkpoint
from service.pantries.config import ModelConfig, check_same_config, read_config, read_object
from service.pantries.recipes import check_recipe
from service.schemas.base import Name

CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
TRAINING_FILE = "training.json"
RECIPE_FILE = "recipe.yaml"
FILES = (CONFIG_FILE, WEIGHTS_FILE, TRAINING_FILE, RECIPE_FILE)
FEWEST, MOST = 2, 16

_NAME: TypeAdapter[str] = TypeAdapter(Name)


@dataclass(frozen=True)
class CheckedIngredient:
    """One ingredient that is valid on its own."""

    name: str
    config: ModelConfig
    checkpoint: Checkpoint
    sha256: str
    config_sha256: str
    training: dict[str, Any] | None


def check_name(name: str, what: str) -> None:
    """Raise InvalidPantry (``invalid_name``) if ``name`` cannot be a folder of the store."""
    try:
        _NAME.validate_python(name)
    except ValidationError as error:
        raise InvalidPantry(
            f"{name!r} cannot be the name of {what}: use up to 64 letters, digits, dots, dashes and underscores, "
            "a letter or digit first",
            code="invalid_name",
        ) from error


def check_names(names: Sequence[str]) -> None:
    """Raise InvalidPantry: ``ingredient_count``, ``invalid_name``, ``duplicate_ingredient``."""
    if not FEWEST <= len(names) <= MOST:
        raise InvalidPantry(
            f"a pantry has {FEWEST} to {MOST} ingredients, not {len(names)}: each is a folder with {CONFIG_FILE} "
            f"and {WEIGHTS_FILE}",
            code="ingredient_count",
        )
    for name in names:
        check_name(name, "an ingredient")
        if names.count(name) > 1:
            raise InvalidPantry(f"two ingredients are named {name!r}: rename one", code="duplicate_ingredient")


def check_ingredients(folder: Path, names: Sequence[str]) -> list[CheckedIngredient]:
    """Fully check the ingredients in the subfolders ``names`` of ``folder``, each one and against the first.

    Raises InvalidPantry with a stable code. Cheap checks come first; the weights' values are read last.
    """
    checked = [_check_one(folder / name, name) for name in names]
    first = checked[0]
    for other in checked[1:]:
        check_same_config(first.config, other.config, (first.name, other.name))
        check_same_tensors(first.checkpoint, other.checkpoint)
    _check_distinct(checked)
    for each in checked:
        check_finite(each.checkpoint)
    return checked


def _check_one(folder: Path, name: str) -> CheckedIngredient:
    for file in (CONFIG_FILE, WEIGHTS_FILE):
        if not (folder / file).is_file():
            raise InvalidPantry(
                f"ingredient {name!r} has no {file}: save it with timm.models.save_for_hf, or convert a state_dict "
                "with `soupsearch pantry add`",
                code="missing_file",
            )
    config = read_config(folder / CONFIG_FILE, name)
    checkpoint = read_checkpoint(folder / WEIGHTS_FILE, name)
    if (folder / RECIPE_FILE).is_file():
        check_recipe(folder / RECIPE_FILE, name)
    training = read_object(folder / TRAINING_FILE, name) if (folder / TRAINING_FILE).is_file() else None
    return CheckedIngredient(
        name=name,
        config=config,
        checkpoint=checkpoint,
        sha256=file_sha256(folder / WEIGHTS_FILE),
        config_sha256=file_sha256(folder / CONFIG_FILE),
        training=training,
    )


def _check_distinct(checked: Sequence[CheckedIngredient]) -> None:
    seen: dict[str, str] = {}
    for each in checked:
        if each.sha256 in seen:
            raise InvalidPantry(
                f"ingredients {seen[each.sha256]!r} and {each.name!r} are the same file: leave one out",
                code="identical_ingredients",
            )
        seen[each.sha256] = each.name


def file_sha256(path: Path) -> str:
    """sha256 of a file, read in blocks."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
