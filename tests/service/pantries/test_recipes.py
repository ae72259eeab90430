"""The recipe of an ingredient, by both parsers that PyYAML may have."""

from pathlib import Path

import pytest
import yaml

from service.errors import InvalidPantry
from service.pantries import recipes
from service.pantries.recipes import RECIPE_BYTES, check_recipe

LONGEST = "a: [" + "b," * ((RECIPE_BYTES - 6) // 2) + "]\n"


@pytest.fixture(params=["CSafeLoader", "SafeLoader"])
def _parser(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(recipes, "_LOADER", getattr(yaml, request.param))


def test_the_fast_parser_is_taken_where_there_is_one() -> None:
    assert yaml.__with_libyaml__
    assert recipes._LOADER is yaml.CSafeLoader


@pytest.mark.usefixtures("_parser")
def test_a_mapping_is_a_recipe_whatever_its_tags_say(tmp_path: Path) -> None:
    path = tmp_path / "recipe.yaml"
    for text in ("training: {epochs: 3}\n", "a: &b [1]\nc: *b\n", "a: !!python/object:os.system ls\n", LONGEST):
        path.write_text(text)
        check_recipe(path, "linf")
    assert path.stat().st_size > RECIPE_BYTES - 10


@pytest.mark.usefixtures("_parser")
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a: [", "parsing"),
        ("[1]", "not hold a mapping"),
        ("", "not hold a mapping"),
        ("a: 1\n---\nb: 1\n", "more than one document"),
        ("a: \x07", "not allowed"),
        ("a: " + "[" * 60_000, "nested deeper than 32"),
        (LONGEST + "#" * 10, "more than 65536 bytes"),
    ],
)
def test_what_is_no_recipe_is_refused(tmp_path: Path, text: str, reason: str) -> None:
    path = tmp_path / "recipe.yaml"
    path.write_text(text)
    with pytest.raises(InvalidPantry, match=reason) as caught:
        check_recipe(path, "linf")
    assert caught.value.code == "invalid_config"
    assert "'linf'" in caught.value.detail
