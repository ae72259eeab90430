"""What a model's file says of itself, and making it again."""

from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from service.errors import InvalidRequest
from service.schemas.request import AdaptRequest
from tests.workers.jobs.conftest import INGREDIENTS, write_ingredient
from workers.jobs.manifest import Manifest, ManifestIngredient, read_manifest
from workers.jobs.reproduce import file_digest, reproduce
from workers.soups.files import save_model, soup_config
from workers.soups.merge import merge
from workers.soups.stack import IngredientStack

WEIGHTS = [0.1 + 0.2, -0.4, 1.1 - 1e-17]


def write_soup(folder: Path) -> tuple[Path, dict[str, Path], Manifest]:
    folders = {name: write_ingredient(folder / name, seed, 0.1) for seed, name in enumerate(INGREDIENTS)}
    stack = IngredientStack.from_folders(list(folders.values()))
    manifest = Manifest(
        version="1",
        code="c0de",
        pantry="tiny",
        pantry_digest="0" * 64,
        ingredients=[
            ManifestIngredient(name=name, sha256=file_digest(path / "model.safetensors"))
            for name, path in folders.items()
        ],
        adaptation_sets=["1" * 64],
        request=AdaptRequest(pantry="tiny"),
        seed=0,
        weights=dict(zip(INGREDIENTS, WEIGHTS, strict=True)),
        score=0.5,
        nll=None,
    )
    soup = save_model(folder / "soup", merge(stack, WEIGHTS), soup_config(stack.config), manifest.metadata())
    return soup, folders, manifest


def test_the_manifest_comes_back_with_the_very_weights(tmp_path: Path) -> None:
    soup, _, manifest = write_soup(tmp_path)
    assert read_manifest(soup) == manifest
    assert list(read_manifest(soup).weights.values()) == WEIGHTS
    with safe_open(soup, framework="pt") as file:
        assert Manifest.model_validate_json(file.metadata()["soupsearch"]) == manifest


def test_a_soup_is_made_again_byte_for_byte(tmp_path: Path) -> None:
    soup, folders, _ = write_soup(tmp_path)
    again = reproduce(soup, folders)
    assert again.same
    assert again.content == soup.read_bytes()


def test_a_changed_file_is_told_apart(tmp_path: Path) -> None:
    soup, folders, _ = write_soup(tmp_path)
    content = bytearray(soup.read_bytes())
    content[-1] ^= 1
    soup.write_bytes(bytes(content))
    again = reproduce(soup, folders)
    assert not again.same
    assert again.given == file_digest(soup) != again.made


def test_other_ingredients_are_refused(tmp_path: Path) -> None:
    soup, folders, _ = write_soup(tmp_path)
    other = write_ingredient(tmp_path / "other", 9, 0.1)
    for ingredients in (folders | {"beta": other}, {"alpha": folders["alpha"]}):
        with pytest.raises(InvalidRequest) as caught:
            reproduce(soup, ingredients)
        assert caught.value.code == "other_ingredients"
        assert "beta" in caught.value.detail


def test_a_file_without_manifest_is_refused(tmp_path: Path) -> None:
    plain, broken = tmp_path / "plain.safetensors", tmp_path / "broken.safetensors"
    save_file({"x": torch.zeros(1)}, plain)
    broken.write_bytes(b"\x01")
    for path in (plain, broken, tmp_path / "absent.safetensors"):
        with pytest.raises(InvalidRequest) as caught:
            read_manifest(path)
        assert caught.value.code == "no_manifest"
