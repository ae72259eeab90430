from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.training.recipe import PantryRecipe, TrainingRecipe, recipe_digest
from lab.training.recipe_file import read_pantry_recipe
from tests.lab.training.recipes import ADVERSARIAL, FASHION_MNIST, TINY_MODEL, tiny_pantry, training
from workers.attacks.threat import Threat

SHIPPED = sorted(Path("examples/recipes").glob("*.yaml"))


def content() -> dict[str, Any]:
    return {
        "name": "tiny",
        "data": {"folder": str(FASHION_MNIST)},
        "model": copy.deepcopy(TINY_MODEL),
        "base": {"linf": copy.deepcopy(ADVERSARIAL)},
        "fine_tunes": {"nominal": {"epochs": 1}},
    }


def load(recipe: Any, folder: Path) -> PantryRecipe:
    path = folder / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    return read_pantry_recipe(path)


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.stem)
def test_shipped_recipes_are_valid_and_name_themselves(path: Path) -> None:
    assert read_pantry_recipe(path).name == path.stem


def test_there_are_shipped_recipes() -> None:
    assert {path.stem for path in SHIPPED} >= {"fashion-resnet", "fashion-vit"}


def test_reads_threats_as_text(tmp_path: Path) -> None:
    recipe = load(content(), tmp_path)
    adversary = recipe.base["linf"].adversary
    assert adversary is not None
    assert adversary.threats == (Threat("Linf", 0.1),)
    assert recipe.base_name == "linf"
    assert list(recipe.ingredients) == ["linf", "nominal"]


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (("model", "architecture"), "resnet17", "timm has no architecture"),
        (("model", "mean"), [0.1, 0.2], "mean has 2 channels"),
        (("model", "std"), [0.0], "greater than 0"),
        (("model", "label_names"), ["bag", "bag"], "repeats a name"),
        (("name",), "Has Spaces", "small letters, digits"),
        (("fine_tunes",), {}, "at least 1 entry"),
        (("fine_tunes",), {"linf": {"epochs": 1}}, "both the base and a fine-tune"),
        (("base",), {"a": {"epochs": 1}, "b": {"epochs": 1}}, "base takes one ingredient"),
        (("base", "linf", "epochs"), 0, "greater than 0"),
        (("base", "linf", "epoch"), 3, "is no field here"),
        (("base", "linf", "adversary", "threats"), ["Linf"], "write NORM:EPS"),
        (("base", "linf", "adversary", "threats"), ["L3:1"], "unknown norm"),
        (("base", "linf", "adversary", "threats"), [], "at least 1 entry"),
        (("base", "linf", "adversary", "threats"), ["Linf:0.1", "L2:1"], "mode single takes one threat"),
        (("base", "linf", "adversary", "mode"), "max", "at least two threats"),
        (("base", "linf", "adversary", "steps"), 0, "at least 1, not 0"),
        (("evaluation",), {"split": "validation"}, "say with data.validation_images how many"),
        (("data",), {"format": "folder", "folder": ".", "image_size": 8, "validation_images": 1}, "images in memory"),
    ],
)
def test_errors_say_what_is_wrong(tmp_path: Path, path: tuple[str, ...], value: Any, message: str) -> None:
    recipe = content()
    section = recipe
    for key in path[:-1]:
        section = section[key]
    section[path[-1]] = value
    with pytest.raises(ValueError, match=message):
        load(recipe, tmp_path)


@pytest.mark.parametrize("recipe", ["text", None, [1]])
def test_a_recipe_is_a_mapping(tmp_path: Path, recipe: Any) -> None:
    with pytest.raises(ValueError, match="is not a recipe"):
        load(recipe, tmp_path)


def test_a_recipe_survives_its_own_json() -> None:
    recipe = training()
    assert TrainingRecipe.model_validate_json(recipe.model_dump_json()) == recipe


def test_digest_changes_with_every_section() -> None:
    recipe = tiny_pantry()
    digest = recipe_digest(recipe.model, training())
    assert digest == recipe_digest(tiny_pantry().model, training())
    assert digest != recipe_digest(recipe.model, training(seed=6))
    assert digest != recipe_digest(training(), recipe.model)


def test_digest_leaves_out_defaults() -> None:
    assert recipe_digest(training()) == recipe_digest(training(optimizer={"name": "sgd"}, ema_decay=None))
