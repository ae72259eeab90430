"""What the documentation says was measured is what the studies beside it measured."""

import csv
import json
from pathlib import Path

import pytest

from lab.study.config import COMPARED, PantrySection, StudyConfig
from lab.study.report import TABLES, columns_of, numbers_json, to_csv, to_markdown

DOCS = Path(__file__).parents[2] / "docs/study"
STUDIES = [DOCS / folder / "study.yaml" for folder in (".", "severities", "seeds", "seeds-vit")]
ATTACKED = {
    "ResNet": ("claims.csv", "resnet"),
    "ResNet, 3 seeds": ("seeds/claims.csv", "ResNet, 3 seeds"),
    "ViT": ("claims.csv", "vit"),
    "ViT, 3 seeds": ("seeds-vit/claims.csv", "ViT, 3 seeds"),
}
"""The columns of the README's table of robustness: a file of claims and a pantry in it."""
SHIFTED = {
    "ResNet": ("claims.csv", "resnet"),
    "ResNet, severity 5, 3 seeds": ("seeds/claims.csv", "ResNet, 3 seeds"),
    "ViT": ("severities/claims.csv", "vit"),
    "ViT, severity 5, float32": ("claims.csv", "vit"),
    "ViT, severity 5, 3 seeds": ("seeds-vit/claims.csv", "ViT, 3 seeds"),
}
"""The columns of the README's table of shifts."""
WITHOUT_UNIT = {"1b": "rank correlation", "9a": "rank correlation", "9b": "change of weight"}
OF_ROBUSTNESS = ("1a", "1b", "2", "3a", "4", "5a", "5b")

Claims = dict[str, dict[str, str]]


def test_every_study_that_is_published_is_tested() -> None:
    assert {path.resolve() for path in DOCS.rglob("numbers.json")} == {
        (path.parent / "numbers.json").resolve() for path in STUDIES
    }


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_numbers_were_measured_with_the_study_file_beside_them(path: Path) -> None:
    config = StudyConfig.load(path)
    numbers = json.loads((path.parent / "numbers.json").read_text())
    assert numbers["study"] == json.loads(numbers_json(config, {}))["study"]
    measured = {(row["pantry"], row["severity"]) for row in numbers["shifts"] if row["corruption"]}
    every = config.data.severities
    assert measured == {(each.name, severity) for each in config.pantries for severity in each.severities or every}
    found = {(row["pantry"], row["method"]) for row in numbers["shifts"]}
    apart = {(pantry, method) for pantry, method in found if method in COMPARED.values()}
    assert apart == {(each.name, method) for each in config.pantries for method in _apart(each)}


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_tables_are_those_of_the_numbers(path: Path) -> None:
    numbers = json.loads((path.parent / "numbers.json").read_text())
    for name in ("claims", *TABLES):
        assert (path.parent / f"{name}.csv").read_text() == to_csv(columns_of(name), numbers[name])
    assert (path.parent / "claims.md").read_text() == to_markdown(numbers["claims"])


@pytest.mark.parametrize("columns", [ATTACKED, SHIFTED], ids=["attacked", "shifted"])
def test_the_tables_of_claims_are_those_of_the_studies(columns: dict[str, tuple[str, str]]) -> None:
    assert claims_table(columns) in (DOCS / "README.md").read_text()


def claims_table(columns: dict[str, tuple[str, str]]) -> str:
    """Every claim on robustness, or on shifts, with what each study says of it, as Markdown."""
    found = {title: _claims(DOCS / file, pantry) for title, (file, pantry) in columns.items()}
    assert all(claims.keys() <= found["ResNet"].keys() for claims in found.values())
    head = ["claim", "holds if", *found]
    lines = [head, ["---"] * len(head)]
    for number, claim in found["ResNet"].items():
        if (number in OF_ROBUSTNESS) == (columns is ATTACKED):
            stated = [f"{number} {claim['claim']}", _rule(claim)]
            lines.append([*stated, *(_cell(each.get(number)) for each in found.values())])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _apart(pantry: PantrySection) -> list[str]:
    return [method for kind, method in COMPARED.items() if getattr(pantry, kind) is not None]


def _claims(file: Path, pantry: str) -> Claims:
    with file.open(newline="") as text:
        return {row["number"]: row for row in csv.DictReader(text) if row["pantry"] == pantry}


def _rule(claim: dict[str, str]) -> str:
    if claim["unit"]:
        return f"{claim['rule']} {claim['unit']}"
    return f"{WITHOUT_UNIT[claim['number']]} {claim['rule']}"


def _cell(claim: dict[str, str] | None) -> str:
    if claim is None or not claim["value"]:
        return "–"
    value, low, high = (float(claim[key]) for key in ("value", "low", "high"))
    return f"**{claim['verdict']}** {value:+.2f} ({low:+.2f} to {high:+.2f})"
