from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from torch import nn

from lab.training.network import check_logits, create_network, diverged, load_ingredient, not_finite, save_ingredient
from lab.training.recipe import ModelRecipe
from tests.lab.training.recipes import LABEL_NAMES, TINY_MODEL

TINY_VIT: dict[str, Any] = {
    **TINY_MODEL,
    "architecture": "vit_tiny_patch16_224",
    "arguments": {"img_size": 28, "patch_size": 7, "embed_dim": 16, "depth": 1, "num_heads": 2},
}
COLOUR: dict[str, Any] = {
    **TINY_MODEL,
    "arguments": {"layers": [1, 1, 1, 1], "channels": [4, 4, 8, 8]},
    "mean": [0.1, 0.2, 0.3],
    "std": [0.4, 0.5, 0.6],
    "channels_last": True,
}


@pytest.mark.parametrize("content", [TINY_MODEL, TINY_VIT, COLOUR], ids=["resnet", "vit", "colour"])
def test_timm_loads_what_is_saved(tmp_path: Path, content: dict[str, Any]) -> None:
    recipe = ModelRecipe.model_validate(content)
    network = create_network(recipe, seed=3).eval()
    save_ingredient(network, recipe, (28, 28), tmp_path / "a")
    loaded = timm.create_model(f"local-dir:{tmp_path / 'a'}", pretrained=True).eval()
    images = torch.rand(2, len(recipe.mean), 28, 28)
    assert torch.equal(loaded(images), network.to(memory_format=torch.contiguous_format)(images))
    config = timm.data.resolve_model_data_config(loaded)
    assert config["input_size"] == (len(recipe.mean), 28, 28)
    assert (tuple(config["mean"]), tuple(config["std"])) == (recipe.mean, recipe.std)
    assert config["crop_pct"] == 1.0


def test_the_folder_names_its_labels(tmp_path: Path) -> None:
    recipe = ModelRecipe.model_validate(TINY_MODEL)
    save_ingredient(create_network(recipe, 0), recipe, (28, 28), tmp_path)
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["label_names"] == LABEL_NAMES
    assert config["num_classes"] == config["pretrained_cfg"]["num_classes"] == 10
    assert sorted(path.name for path in tmp_path.iterdir()) == ["config.json", "model.safetensors"]


def test_equal_seeds_give_equal_bytes_and_leave_the_global_state(tmp_path: Path) -> None:
    recipe = ModelRecipe.model_validate(TINY_MODEL)
    before = torch.get_rng_state()
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        save_ingredient(create_network(recipe, seed), recipe, (28, 28), tmp_path / name)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c
    assert torch.equal(before, torch.get_rng_state())


def test_load_ingredient_takes_the_weights(tmp_path: Path) -> None:
    recipe = ModelRecipe.model_validate(TINY_MODEL)
    network = create_network(recipe, 9)
    save_ingredient(network, recipe, (28, 28), tmp_path)
    loaded = load_ingredient(tmp_path).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in network.state_dict().items())


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
def test_names_what_is_not_finite(value: float) -> None:
    network = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    assert not_finite(network) is None
    network.state_dict()["1.running_var"][1] = value
    assert not_finite(network) == "1.running_var"


def test_logits_that_are_no_numbers_are_told() -> None:
    network = nn.Linear(2, 3)
    check_logits(network, torch.ones(4, 2))
    network.weight.data.fill_(3e38)
    with pytest.raises(ValueError, match="logits for held-out images are not finite"):
        check_logits(network, torch.ones(4, 2))


def test_says_what_to_change() -> None:
    assert "lower optimizer.learning_rate, set optimizer.clip_norm" in str(diverged("its loss is nan"))
