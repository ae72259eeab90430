from __future__ import annotations

from pathlib import Path

import timm
import torch
from torch import nn

from lab.training.network import create_network, load_ingredient, save_ingredient
from lab.training.recipe import ModelRecipe
from workers.soups.merge import merge
from workers.soups.model import build_model
from workers.soups.stack import IngredientStack
from workers.soups.verify import verify_folder

SMALL = {"blocks": 1, "width": 1}


def recipe(**arguments: int) -> ModelRecipe:
    content = {"mean": [0.5] * 3, "std": [0.25] * 3, "label_names": ["a", "b", "c"], "arguments": arguments}
    return ModelRecipe.model_validate({"architecture": "wide_resnet28_10", **content})


def test_it_is_the_network_of_the_paper() -> None:
    model = build_model({"architecture": "wide_resnet28_10", "num_classes": 10}, "meta")
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    assert sum(parameter.numel() for parameter in model.parameters()) == 36_479_194
    assert sum(module.kernel_size == (3, 3) for module in convolutions) == 25
    assert [module.out_channels for module in convolutions if module.stride == (2, 2)] == [320, 320, 640, 640]


def test_maps_keep_the_size_of_small_images() -> None:
    model = timm.create_model("wide_resnet28_10", **SMALL, features_only=True).eval()
    shapes = [tuple(features.shape[1:]) for features in model(torch.rand(1, 3, 32, 32))]
    assert shapes == [(16, 32, 32), (16, 32, 32), (32, 16, 16), (64, 8, 8)]
    assert model.feature_info.reduction() == [1, 1, 2, 4]


def test_it_is_an_ingredient_like_any_other(tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 2)):
        network = create_network(recipe(**SMALL), seed)
        save_ingredient(network, recipe(**SMALL), (32, 32), tmp_path / name)
        verify_folder(tmp_path / name)
    images = torch.rand(2, 3, 32, 32)
    network.eval()
    assert torch.equal(load_ingredient(tmp_path / "b").eval()(images), network(images))
    stack = IngredientStack.from_folders([tmp_path / "a", tmp_path / "b"])
    assert merge(stack, [1.5, -0.5]).keys() == network.state_dict().keys()
