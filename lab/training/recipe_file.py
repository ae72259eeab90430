"""Recipes as files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from lab.training.recipe import IngredientRecipe, PantryRecipe
from lab.yaml_files import read_mapping, wrong_fields

RECIPE = "recipe.yaml"
"""The file of an ingredient's folder that it can be made again from."""


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> IngredientRecipe | PantryRecipe:
    """Read a recipe from YAML: a pantry's if it has a ``base``, otherwise one ingredient's.

    ``overrides`` are ``KEY=VALUE``, such as ``training.epochs=1``: KEY leads through the sections, VALUE is YAML.
    Raises ValueError naming the file, each field that is wrong and what it should be.
    """
    content = read_mapping(path, "recipe", "data, model and training, or base")
    for override in overrides:
        _override(content, override)
    kind = PantryRecipe if "base" in content else IngredientRecipe
    try:
        return kind.model_validate(content)
    except ValidationError as error:
        raise ValueError(f"{path}: {wrong_fields(error)}") from error


def read_pantry_recipe(path: Path, overrides: Sequence[str] = ()) -> PantryRecipe:
    """Read a pantry's recipe as ``read_recipe`` does. Raises ValueError also for the recipe of one ingredient."""
    recipe = read_recipe(path, overrides)
    if not isinstance(recipe, PantryRecipe):
        raise ValueError(f"{path} is the recipe of one ingredient: a pantry's has name, base and fine_tunes")
    return recipe


def write_recipe(recipe: IngredientRecipe | PantryRecipe, path: Path) -> None:
    """Write a recipe that ``read_recipe`` reads back."""
    path.write_text(recipe_text(recipe), encoding="utf-8")


def recipe_text(recipe: IngredientRecipe | PantryRecipe) -> str:
    """A recipe in YAML; fields at their defaults are left out."""
    content = recipe.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return text


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.rpartition(".")[2]:
        raise ValueError(f"{override!r} sets nothing: write KEY=VALUE, such as training.epochs=1")
    section: Any = content
    field = key
    while "." in field and isinstance(section, dict):
        name = _first_name(section, field)
        section, field = section.setdefault(name, {}), field[len(name) + 1 :]
    if not isinstance(section, dict):
        raise ValueError(f"{key!r} leads through {key.rpartition('.')[0]}, which is no section of the recipe")
    try:
        section[field] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(f"{override!r}: {value!r} is not YAML; quote it if it is text, close what it opens") from error


def _first_name(section: dict[str, Any], key: str) -> str:
    """The longest name in ``section`` that ``key`` begins with: names of ingredients may have dots."""
    known = [name for name in map(str, section) if key.startswith(f"{name}.")]
    return max(known, key=len, default=key.partition(".")[0])
