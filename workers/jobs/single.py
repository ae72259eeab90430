"""One model as evaluators take it."""

from pathlib import Path
from typing import Any

from workers.soups.stack import IngredientStack


def single_model(folder: Path) -> dict[str, Any]:
    """The model in a timm folder as the arrays of a stack of one ingredient: its soup of weight 1 is the model."""
    twice = IngredientStack.from_folders([folder, folder], ["model", "same"])
    return {**twice.arrays(), "names": ("model",), "weights": twice.weights[:1].copy()}
