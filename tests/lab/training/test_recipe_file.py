from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.training.recipe import IngredientRecipe, PantryRecipe
from lab.training.recipe_file import read_pantry_recipe, read_recipe, write_recipe
from tests.lab.training.recipes import ADVERSARIAL, TINY_MODEL, tiny_pantry

SINGLE: dict[str, Any] = {"data": {"folder": "images"}, "model": TINY_MODEL, "training": ADVERSARIAL}


def written(folder: Path, content: object) -> Path:
    path = folder / "recipe.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return path


def test_tells_a_pantrys_recipe_from_an_ingredients(tmp_path: Path) -> None:
    assert isinstance(read_recipe(Path("examples/recipes/fashion-vit.yaml")), PantryRecipe)
    recipe = read_recipe(written(tmp_path, SINGLE))
    assert isinstance(recipe, IngredientRecipe)
    assert recipe.training.seed == 5


@pytest.mark.parametrize("recipe", [tiny_pantry(), tiny_pantry().ingredient("nominal")], ids=["pantry", "ingredient"])
def test_a_recipe_that_was_written_reads_the_same(tmp_path: Path, recipe: PantryRecipe | IngredientRecipe) -> None:
    write_recipe(recipe, tmp_path / "recipe.yaml")
    assert read_recipe(tmp_path / "recipe.yaml") == recipe


def test_overrides_change_fields_and_add_sections(tmp_path: Path) -> None:
    chosen = ["training.epochs=0.5", "training.optimizer.name=adamw", "data.folder=/data", "model.arguments.in_chans=1"]
    recipe = read_recipe(written(tmp_path, SINGLE), chosen)
    assert isinstance(recipe, IngredientRecipe)
    assert recipe.training.epochs == 0.5
    assert recipe.training.optimizer.name == "adamw"
    assert recipe.data.folder == Path("/data")


def test_overrides_reach_an_ingredient_with_dots_in_its_name(tmp_path: Path) -> None:
    training = {**ADVERSARIAL, "adversary": None}
    named = tiny_pantry(fine_tunes={"lr0.01": training, "lr0.001": training})
    path = written(tmp_path, named.model_dump(mode="json", exclude_defaults=True))
    recipe = read_pantry_recipe(path, ["fine_tunes.lr0.001.optimizer.learning_rate=0.001"])
    assert recipe.fine_tunes["lr0.001"].optimizer.learning_rate == 0.001
    assert recipe.fine_tunes["lr0.01"] == read_pantry_recipe(path).fine_tunes["lr0.01"]


def test_label_names_may_be_those_of_a_data_set(tmp_path: Path) -> None:
    recipe = read_recipe(written(tmp_path, SINGLE), ["model.label_names=imagenet", "model.arguments.num_classes=1000"])
    assert len(recipe.model.label_names) == 1000
    assert recipe.model.label_names[0] == "n01440764"


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["training.epochs=0"], r"recipe\.yaml: training\.epochs must be greater than 0, not 0"),
        (["training.epoch=1"], r"training\.epoch is no field here"),
        (["training"], "write KEY=VALUE"),
        (["training.epochs=[1"], r"'training\.epochs=\[1': '\[1' is not YAML"),
        (["data.folder.x=1"], "not a section of the recipe"),
        (["model.label_names=mnist"], "is not the name of a data set"),
        (["data.format=folder"], "image_size is missing"),
        (["data.image_size=32"], "are for format folder"),
        (["training.augmentation.crop_scale=[0.1, 1]"], "training: crop_scale is for image files"),
        (["training.augmentation.crop_scale=[0.9, 0.1]"], "swap the two"),
        (["training.augmentation.auto_augment=magic"], "timm does not know the policy"),
        (["training.adversary.attack=apgd"], "leave out random_start"),
        (
            ["training.augmentation.auto_augment=rand-bogus9"],
            r"auto_augment: timm cannot read the policy 'rand-bogus9'",
        ),
        (["training.epochs=.inf"], r"training\.epochs must be a finite number"),
        (["training.optimizer.learning_rate=.inf"], r"learning_rate must be a finite number"),
        (["training.optimizer.weight_decay=1e999"], r"weight_decay must be a finite number"),
        (["model.mean=[.nan]"], r"model\.mean\.0 must be a finite number, not nan"),
        (["model.arguments.drop_rate=[{a: .nan}]"], r"model\.arguments: nan is not a finite number"),
        (
            ["model.arguments.num_classes=5"],
            r"arguments\.num_classes is 5, but label_names has 10: leave out num_classes",
        ),
        (["model.arguments.in_chans=3"], r"arguments\.in_chans is 3, but mean has 1: leave out in_chans"),
        (["training.precision=float8"], r"training\.precision"),
        (["data.format=folder", "data.image_size=32"], "training: crop_padding is for images in memory"),
    ],
)
def test_errors_name_the_field(tmp_path: Path, overrides: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe(written(tmp_path, SINGLE), overrides)


def test_a_missing_file_is_told_with_what_to_give(tmp_path: Path) -> None:
    for path, wrong in ((tmp_path / "none.yaml", "does not exist"), (tmp_path, "is a folder")):
        with pytest.raises(FileNotFoundError, match=f"{wrong}: give the path of a recipe, a YAML file with data"):
            read_recipe(path)


def test_overrides_take_no_wildcards() -> None:
    with pytest.raises(ValueError, match=r"fine_tunes has a name that must have 1 to 64 letters.* not '\*'"):
        read_recipe(Path("examples/recipes/fashion-vit.yaml"), ["fine_tunes.*.epochs=1"])


def test_a_pantrys_recipe_is_not_one_ingredients(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="recipe of a single ingredient"):
        read_pantry_recipe(written(tmp_path, SINGLE))


@pytest.mark.parametrize(("text", "message"), [("[1]", "is not a recipe"), ("a: [", "is not YAML")])
def test_other_files_are_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        read_recipe(written(tmp_path, text))
