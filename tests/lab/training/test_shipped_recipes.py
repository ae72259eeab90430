"""The recipes for CIFAR-10 and ImageNet, on a few small images of the same layout."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm

from lab.training.ingredient_build import RECORD
from lab.training.pantry_build import build_pantry
from lab.training.recipe import PantryRecipe
from lab.training.recipe_file import read_pantry_recipe
from tests.lab.training.cifar import write_cifar10
from tests.lab.training.folders import write_image_folder
from workers.attacks.threat import Threat

RECIPES = Path("examples/recipes")
BUDGETS = {
    "cifar10-wrn-28-10": ("Linf:8/255", "L2:128/255", "L1:12"),
    "imagenet-resnet50": ("Linf:4/255", "L2:4", "L1:255"),
    "imagenet-vit-b16": ("Linf:4/255", "L2:4", "L1:255"),
}
SMALLER = {
    "cifar10-wrn-28-10": ["model.arguments={blocks: 1, width: 1}"],
    "imagenet-resnet50": ["model.arguments={layers: [1, 1, 1, 1], channels: [4, 4, 8, 8]}"],
    "imagenet-vit-b16": ["model.arguments={img_size: 32, embed_dim: 16, depth: 1, num_heads: 2}"],
}
FILES = ["data.image_size=32", "data.workers=0"]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    cifar = tmp_path_factory.mktemp("cifar")
    write_cifar10(cifar, each=4)
    return {"cifar10": cifar, "folder": write_image_folder(tmp_path_factory.mktemp("imagenet"), each=3)}


def shrunk(name: str, data: dict[str, Path]) -> PantryRecipe:
    whole = read_pantry_recipe(RECIPES / f"{name}.yaml")
    paths = ["base.linf", *(f"fine_tunes.{fine_tune}" for fine_tune in whole.fine_tunes)]
    short = [f"{path}.{field}" for path in paths for field in ("max_steps=2", "batch_size=4", "precision=float32")]
    test = ["evaluation.steps=2", "evaluation.images=8", f"data.folder={data[whole.data.format]}"]
    files = FILES if whole.data.format == "folder" else []
    return read_pantry_recipe(RECIPES / f"{name}.yaml", [*SMALLER[name], *short, *test, *files])


@pytest.mark.parametrize("name", BUDGETS)
def test_the_budgets_are_the_papers(name: str) -> None:
    recipe = read_pantry_recipe(RECIPES / f"{name}.yaml")
    threats = tuple(Threat.parse(text) for text in BUDGETS[name])
    trained = [each.adversary.threats[0] for each in recipe.ingredients.values() if each.adversary is not None]
    assert list(recipe.ingredients) == ["linf", "l2", "l1", "nominal"]
    assert tuple(trained) == recipe.evaluation.threats == threats
    assert recipe.evaluation.steps == 40
    for fine_tune in recipe.fine_tunes.values():
        assert (fine_tune.epochs, fine_tune.batch_size, fine_tune.optimizer.schedule) == (3, 128, "thirds")
        if fine_tune.optimizer.name == "sgd":  # the transformer's AdamW is a choice of our own
            assert (fine_tune.optimizer.momentum, fine_tune.optimizer.weight_decay) == (0.9, 5e-4)
        assert fine_tune.adversary is None or (fine_tune.adversary.attack, fine_tune.adversary.steps) == ("apgd", 10)


@pytest.mark.parametrize("name", BUDGETS)
def test_a_pantry_is_made_from_data_of_the_layout(name: str, data: dict[str, Path], tmp_path: Path) -> None:
    recipe = shrunk(name, data)
    folders = build_pantry(recipe, tmp_path)
    assert [folder.name for folder in folders] == list(recipe.ingredients)
    for folder in folders:
        model = timm.create_model(f"local-dir:{folder}", pretrained=True)
        assert model.num_classes == len(recipe.model.label_names)
        record = json.loads((folder / RECORD).read_text())
        assert record["test"]["images"] == (4 if recipe.data.format == "cifar10" else 8)
        assert len(record["test"]["threats"]) == 3
