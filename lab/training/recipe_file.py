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
"""The file in an ingredient's folder from which the ingredient can be made again."""


def read_recipe(path: Path, overrides: Sequence[str] = ()) -> IngredientRecipe | PantryRecipe:
    """Read a recipe from YAML: a pantry's if it has a ``base``, otherwise a single ingredient's.

    ``overrides`` are ``KEY=VALUE``, such as ``training.epochs=1``: KEY leads through the sections, VALUE is YAML.
    Raises ValueError naming the file, each wrong field and what it should be.
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
    """Read a pantry's recipe as ``read_recipe`` does. Also raises ValueError for the recipe of a single ingredient."""
    recipe = read_recipe(path, overrides)
    if not isinstance(recipe, PantryRecipe):
        raise ValueError(
            f"{path} is the recipe of a single ingredient: the recipe of a pantry has name, base and fine_tunes"
        )
    return recipe


def write_recipe(recipe: IngredientRecipe | PantryRecipe, path: Path) -> None:
    """Write a recipe that ``read_recipe`` can read."""
    path.write_text(recipe_text(recipe), encoding="utf-8")


def recipe_text(recipe: IngredientRecipe | PantryRecipe) -> str:
    """A recipe as YAML; fields at their defaults are left out."""
    content = recipe.model_dump(mode="json", exclude_defaults=True)
    text: str = yaml.safe_dump(content, sort_keys=False, default_flow_style=None, width=120, allow_unicode=True)
    return text


def _override(content: dict[str, Any], override: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.rpartition(".")[2]:
        raise ValueError(f"{override!r} does not set anything: write KEY=VALUE, such as training.epochs=1")
    section: Any = content
    field = key
    while "." in field and isinstance(section, dict):
        name = _first_name(section, field)
        section, field = section.setdefault(name, {}), field[len(name) + 1 :]
    if not isinstance(section, dict):
        raise ValueError(f"{key!r} leads through {key.rpartition('.')[0]}, which is not a section of the recipe")
    try:
        section[field] = yaml.safe_load(value)
    except yaml.YAMLError as error:
        raise ValueError(
            f"{override!r}: {value!r} is not YAML: quote it if it is text, and close every bracket and quote"
        ) from error


def _first_name(section: dict[str, Any], key: str) -> str:
    """The longest name in ``section`` with which ``key`` begins; names of ingredients may contain dots."""
    known = [name for name in map(str, section) if key.startswith(f"{name}.")]
    return max(known, key=len, default=key.partition(".")[0])
