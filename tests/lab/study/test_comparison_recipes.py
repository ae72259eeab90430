"""The shipped recipes of the models that studies compare soups with."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.training.recipe import EvaluationRecipe, ModelRecipe, TrainingRecipe
from tests.live import ROOT

RECIPES = ROOT / "examples/recipes"


def content(path: Path) -> Any:
    return yaml.safe_load(path.read_text("utf-8"))


@pytest.mark.parametrize("architecture", ["resnet", "vit"])
@pytest.mark.parametrize("kind", ["max", "sat", "nominal"])
def test_they_have_the_pantrys_architecture_and_budget(architecture: str, kind: str) -> None:
    pantry = content(RECIPES / f"fashion-{architecture}.yaml")
    recipe = content(RECIPES / f"comparison/fashion-{architecture}-{kind}.yaml")
    assert ModelRecipe.model_validate(recipe["model"]) == ModelRecipe.model_validate(pantry["model"])
    assert EvaluationRecipe.model_validate(recipe["evaluation"]).threats
    training = TrainingRecipe.model_validate(recipe["training"])
    fine_tune = "nominal" if kind == "nominal" else "l1"
    assert training.epochs == pantry["base"]["linf"]["epochs"] + pantry["fine_tunes"][fine_tune]["epochs"]
    assert (training.adversary.mode if training.adversary else "nominal") == kind
    assert recipe["data"] == pantry["data"]
    assert set(recipe) == {"data", "model", "training", "evaluation"}
