from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import Tensor

from lab.data.idx import load_idx_folder
from lab.training.images import open_images
from lab.training.pantry_build import RECORD, build_pantry
from lab.training.progress import LOG
from lab.training.recipe import IngredientRecipe, TrainingRecipe
from lab.training.recipe_file import RECIPE, read_pantry_recipe, read_recipe
from tests.lab.training.recipes import FASHION_MNIST, LABEL_NAMES
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import robust_accuracy

PANTRIES = Path("examples/pantries")
ANEW = ("fashion-resnet-strong",)
"""The pantries whose recipes keep validation images out, as the rule of docs/training.md wants."""

NAMES = ("fashion-resnet", "fashion-vit", *ANEW)
INGREDIENTS = ("linf", "l2", "l1", "nominal")
FOLDERS = [PANTRIES / name / ingredient for name in NAMES for ingredient in INGREDIENTS]


def recorded(folder: Path) -> dict[str, Any]:
    """The record's scores on validation images if the recipe keeps some out, or else on test images."""
    record = json.loads((folder / RECORD).read_text())
    scores: dict[str, Any] = record["validation" if folder.parent.name in ANEW else "test"]
    return scores


def scored_again(folder: Path) -> tuple[IngredientRecipe, NormalizedModel, Tensor, Tensor]:
    """The recipe, the model, and the images and labels that the recorded scores are of."""
    recipe = read_recipe(folder / RECIPE)
    assert isinstance(recipe, IngredientRecipe)
    images, labels = open_images(recipe.data, recipe.model).evaluation_images(
        recipe.evaluation.split, recorded(folder)["images"]
    )
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(network)
    assert config["input_size"] == (1, 28, 28)
    return recipe, NormalizedModel(network, config["mean"], config["std"]), images, labels


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_timm_loads_it_and_it_scores_as_recorded(folder: Path) -> None:
    _, model, images, labels = scored_again(folder)
    with torch.inference_mode():
        right = model(images).argmax(1) == labels
    assert float(right.double().mean()) == pytest.approx(recorded(folder)["clean"], abs=0.002)


@pytest.mark.slow
@pytest.mark.parametrize("ingredient", INGREDIENTS)
@pytest.mark.parametrize("name", ANEW)
def test_attacks_find_the_recorded_robustness_again(name: str, ingredient: str) -> None:
    folder = PANTRIES / name / ingredient
    recipe, model, images, labels = scored_again(folder)
    found = robust_accuracy(model, images, labels, recipe.evaluation.attacks, batch_size=recipe.evaluation.batch_size)
    for again, before in zip(found.as_json()["threats"], recorded(folder)["threats"], strict=True):
        assert (again["norm"], again["eps"], again["steps"]) == (before["norm"], before["eps"], before["steps"])
        assert again["robust"] == pytest.approx(before["robust"], abs=0.005)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_its_folder_says_how_it_was_trained(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    recipe = read_pantry_recipe(Path("examples/recipes") / f"{folder.parent.name}.yaml")
    log = [LOG] if folder.parent.name in ANEW else []
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", *log, "model.safetensors", RECIPE, RECORD]
    assert read_recipe(folder / RECIPE) == recipe.ingredient(folder.name)
    assert TrainingRecipe.model_validate(record["recipe"]) == recipe.ingredients[folder.name]
    assert record["fine_tuned_from"] == (None if folder.name == "linf" else "linf")
    assert json.loads((folder / "config.json").read_text())["label_names"] == LABEL_NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_build_takes_it_as_finished(name: str) -> None:
    recipe = read_pantry_recipe(Path("examples/recipes") / f"{name}.yaml")
    built = build_pantry(recipe, PANTRIES / name, on_progress=lambda *_: pytest.fail("it trains again"))
    assert [folder.name for folder in built] == list(INGREDIENTS)


@pytest.mark.parametrize("name", NAMES)
def test_robust_ingredients_are_robust_and_the_nominal_one_is_accurate(name: str) -> None:
    scores = {ingredient: recorded(PANTRIES / name / ingredient) for ingredient in INGREDIENTS}
    robust = {ingredient: [threat["robust"][0] for threat in each["threats"]] for ingredient, each in scores.items()}
    assert max(scores, key=lambda ingredient: scores[ingredient]["clean"]) == "nominal"
    assert all(min(robust[ingredient]) > max(robust["nominal"]) for ingredient in ("linf", "l2", "l1"))
    assert robust["linf"][0] == max(values[0] for values in robust.values())
    assert robust["l1"][2] == max(values[2] for values in robust.values())


@pytest.mark.parametrize("ingredient", ["linf", "l2", "l1"])
@pytest.mark.parametrize("name", ANEW)
def test_masked_gradients_were_checked_for(name: str, ingredient: str) -> None:
    checks = json.loads((PANTRIES / name / ingredient / RECORD).read_text())["masking"]
    assert [(check["norm"], check["eps"], check["images"]) for check in checks] == [
        ("Linf", 0.1, 200), ("L2", 1.5, 200), ("L1", 12.0, 200),
    ]  # fmt: skip


@pytest.mark.parametrize("name", ANEW)
def test_adversarial_training_is_as_the_rule_wants(name: str) -> None:
    recipe = read_pantry_recipe(Path("examples/recipes") / f"{name}.yaml")
    attacks = [each.adversary for each in recipe.ingredients.values() if each.adversary is not None]
    assert len(attacks) == 3
    assert all(attack.steps >= 10 and attack.random_start for attack in attacks)
    assert all(each.ema_decay for each in recipe.ingredients.values())


def test_together_they_are_small() -> None:
    assert sum(path.stat().st_size for path in PANTRIES.rglob("*") if path.is_file()) < 30_000_000


@pytest.mark.parametrize("name", NAMES)
def test_they_were_trained_on_fashion_mnist_but_for_validation_images(name: str) -> None:
    trained_on = load_idx_folder(FASHION_MNIST, "train").first(55_000 if name in ANEW else None)
    records = [json.loads((PANTRIES / name / ingredient / RECORD).read_text()) for ingredient in INGREDIENTS]
    assert {record["data"]["sha256"] for record in records} == {trained_on.digest()}
