import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from lab.training.recipe import (
    AdversaryRecipe,
    AugmentationRecipe,
    DataRecipe,
    EvaluationRecipe,
    ModelRecipe,
    OptimizerRecipe,
    TrainingRecipe,
)

DOCUMENT = Path("docs/training.md").read_text()
NESTED = {"optimizer", "augmentation"}
SECTIONS: dict[str, dict[str, type[BaseModel]]] = {
    "data": {"": DataRecipe},
    "model": {"": ModelRecipe},
    "training": {
        "": TrainingRecipe,
        "optimizer.": OptimizerRecipe,
        "augmentation.": AugmentationRecipe,
        "adversary.": AdversaryRecipe,
    },
    "evaluation": {"": EvaluationRecipe},
}
"""The heading of each table in the document, and the sections it is about by what stands before their fields."""


def rows(heading: str) -> list[str]:
    """The fields that the table under ``heading`` names; the first one of a cell gives the section of all in it."""
    text = re.split(r"^##", DOCUMENT.partition(f"\n### `{heading}`")[2], maxsplit=1, flags=re.MULTILINE)[0]
    named = []
    for line in re.findall(r"^\| `.*$", text, flags=re.MULTILINE):
        first, *others = re.findall(r"`([^`]+)`", line.split(" | ")[0])
        section, dot, _ = first.rpartition(".")
        named += [first, *(f"{section}{dot}{other}" for other in others)]
    return named


@pytest.mark.parametrize("heading", SECTIONS)
def test_every_field_of_a_section_has_its_row_in_the_sections_table(heading: str) -> None:
    fields = [prefix + field for prefix, section in SECTIONS[heading].items() for field in section.model_fields]
    assert sorted(rows(heading)) == sorted(field for field in fields if field not in NESTED)


def test_every_shipped_recipe_is_named() -> None:
    for path in Path("examples/recipes").glob("*.yaml"):
        assert f"`{path.stem}`" in DOCUMENT
