from pathlib import Path

import pytest
from pydantic import BaseModel

from workers.training.recipe import (
    AdversaryRecipe,
    AugmentationRecipe,
    DataRecipe,
    EvaluationRecipe,
    ModelRecipe,
    OptimizerRecipe,
    TrainingRecipe,
)

DOCUMENT = Path("docs/training.md").read_text()
SECTIONS = (
    AdversaryRecipe,
    AugmentationRecipe,
    DataRecipe,
    EvaluationRecipe,
    ModelRecipe,
    OptimizerRecipe,
    TrainingRecipe,
)
NESTED = {"optimizer", "augmentation"}
FIELDS = [(section, field) for section in SECTIONS for field in section.model_fields if field not in NESTED]


@pytest.mark.parametrize(
    ("section", "field"), FIELDS, ids=lambda each: each if isinstance(each, str) else each.__name__
)
def test_every_field_of_a_recipe_is_documented(section: type[BaseModel], field: str) -> None:
    rows = [line.partition(" | ")[0] for line in DOCUMENT.splitlines() if line.startswith("| `")]
    names = {name.strip("`, |").rpartition(".")[2] for row in rows for name in row.split("`")}
    assert field in names


def test_every_shipped_recipe_is_named() -> None:
    for path in Path("examples/recipes").glob("*.yaml"):
        assert f"`{path.stem}`" in DOCUMENT
