from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch

from lab.data.idx import load_idx_folder
from lab.training.pantry_build import RECORD, build_pantry
from lab.training.recipe import TrainingRecipe
from lab.training.recipe_file import RECIPE, read_pantry_recipe, read_recipe
from tests.lab.training.recipes import FASHION_MNIST, LABEL_NAMES, fashion
from workers.attacks.model import NormalizedModel

PANTRIES = Path("examples/pantries")
NAMES = ("fashion-resnet", "fashion-vit")
INGREDIENTS = ("linf", "l2", "l1", "nominal")
FOLDERS = [PANTRIES / name / ingredient for name in NAMES for ingredient in INGREDIENTS]


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_timm_loads_it_and_it_scores_as_recorded(folder: Path) -> None:
    network = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    config = timm.data.resolve_model_data_config(network)
    record = json.loads((folder / RECORD).read_text())
    data = fashion(record["test"]["images"])
    model = NormalizedModel(network, config["mean"], config["std"])
    with torch.inference_mode():
        right = model(torch.from_numpy(data.images).float() / 255).argmax(1) == torch.from_numpy(data.labels)
    assert config["input_size"] == (1, 28, 28)
    assert float(right.double().mean()) == pytest.approx(record["test"]["clean"], abs=0.002)


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: f"{folder.parent.name}-{folder.name}")
def test_its_folder_says_how_it_was_trained(folder: Path) -> None:
    record = json.loads((folder / RECORD).read_text())
    recipe = read_pantry_recipe(Path("examples/recipes") / f"{folder.parent.name}.yaml")
    assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", RECIPE, RECORD]
    assert read_recipe(folder / RECIPE) == recipe.ingredient(folder.name)
    assert TrainingRecipe.model_validate(record["recipe"]) == recipe.ingredients[folder.name]
    assert record["fine_tuned_from"] == (None if folder.name == "linf" else "linf")
    assert json.loads((folder / "config.json").read_text())["label_names"] == LABEL_NAMES


@pytest.mark.parametrize("name", NAMES)
def test_a_build_takes_it_as_finished(name: str) -> None:
    recipe = read_pantry_recipe(Path("examples/recipes") / f"{name}.yaml")
    built = build_pantry(recipe, PANTRIES / name, on_progress=lambda *_: pytest.fail("it trains again"))
    assert [folder.name for folder in built] == list(INGREDIENTS)


def test_robust_ingredients_are_robust_and_the_nominal_one_is_accurate() -> None:
    for name in NAMES:
        tests = {
            ingredient: json.loads((PANTRIES / name / ingredient / RECORD).read_text())["test"]
            for ingredient in INGREDIENTS
        }
        robust = {ingredient: [threat["robust"][0] for threat in test["threats"]] for ingredient, test in tests.items()}
        assert max(tests, key=lambda ingredient: tests[ingredient]["clean"]) == "nominal"
        assert all(min(robust[ingredient]) > max(robust["nominal"]) for ingredient in ("linf", "l2", "l1"))
        assert robust["linf"][0] == max(values[0] for values in robust.values())
        assert robust["l1"][2] == max(values[2] for values in robust.values())


def test_together_they_are_small() -> None:
    assert sum(path.stat().st_size for path in PANTRIES.rglob("*") if path.is_file()) < 25_000_000


def test_they_were_trained_on_fashion_mnist_whole() -> None:
    digest = load_idx_folder(FASHION_MNIST, "train").digest()
    records = [json.loads((folder / RECORD).read_text()) for folder in FOLDERS]
    assert {record["data"]["sha256"] for record in records} == {digest}
