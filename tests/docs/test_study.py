"""What the documentation says was measured is what the studies beside it measured."""

import csv
import json
from pathlib import Path

import pytest

from workers.study.config import StudyConfig
from workers.study.documents import numbers_json

DOCS = Path(__file__).parents[2] / "docs/study"
STUDIES = sorted(DOCS.rglob("study.yaml"))
COLUMNS = {
    "ResNet": ("claims.csv", "resnet"),
    "ResNet, 3 seeds, severity 5": ("seeds/claims.csv", "ResNet, 3 seeds"),
    "ViT": ("severities/claims.csv", "vit"),
    "ViT, severity 5": ("claims.csv", "vit"),
}
"""The columns of the README's table: a file of claims and a pantry in it."""

Claims = dict[str, dict[str, str]]


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.parent.name)
def test_numbers_were_measured_with_the_study_file_beside_them(path: Path) -> None:
    config = StudyConfig.load(path)
    numbers = json.loads((path.parent / "numbers.json").read_text())
    assert numbers["study"] == json.loads(numbers_json(config, {}))["study"]
    measured = {(row["pantry"], row["severity"]) for row in numbers["shifts"] if row["corruption"]}
    every = config.data.severities
    assert measured == {(each.name, severity) for each in config.pantries for severity in each.severities or every}


def test_the_table_of_claims_is_that_of_the_studies() -> None:
    assert claims_table() in (DOCS / "README.md").read_text()


def claims_table() -> str:
    """Every claim with what each study says of it, as Markdown."""
    found = {title: _claims(DOCS / file, pantry) for title, (file, pantry) in COLUMNS.items()}
    head = ["claim", "holds if", *found]
    lines = [head, ["---"] * len(head)]
    for number, claim in found["ResNet"].items():
        unit = f" {claim['unit']}".rstrip()
        stated = [f"{number} {claim['claim']}", claim["rule"] + unit]
        lines.append([*stated, *(_cell(each.get(number)) for each in found.values())])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _claims(file: Path, pantry: str) -> Claims:
    with file.open(newline="") as text:
        return {row["number"]: row for row in csv.DictReader(text) if row["pantry"] == pantry}


def _cell(claim: dict[str, str] | None) -> str:
    if claim is None or not claim["value"]:
        return "–"
    value, low, high = (float(claim[key]) for key in ("value", "low", "high"))
    return f"**{claim['verdict']}** {value:+.2f} ({low:+.2f} to {high:+.2f})"
