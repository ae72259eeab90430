import re
from pathlib import Path

from service.settings import Settings

DOCUMENT = Path("docs/configuration.md").read_text()
ROWS = {
    match["name"].lower(): match["meaning"]
    for match in re.finditer(r"^\| `SOUPSEARCH_(?P<name>\w+)` \|[^|]*\| (?P<meaning>[^|]+) \|$", DOCUMENT, re.MULTILINE)
}


def test_every_setting_is_documented_with_its_meaning() -> None:
    assert {name: field.description for name, field in Settings.model_fields.items()} == ROWS


def test_documented_defaults_are_the_real_ones() -> None:
    for name, field in Settings.model_fields.items():
        if field.default_factory is None and field.default != "":
            assert f"| `SOUPSEARCH_{name.upper()}` | {field.default}" in DOCUMENT
