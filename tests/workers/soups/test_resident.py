from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from torch import nn

from search.evaluation import LayerWeights
from tests.workers.soups.folders import RESNET, VIT, config_of, write_ingredients
from workers.soups.files import save_model, soup_config
from workers.soups.layout import Layout
from workers.soups.merge import FLOOR_FACTOR, merge
from workers.soups.model import build_model
from workers.soups.resident import ResidentSoup
from workers.soups.stack import IngredientStack
from workers.soups.verify import verify_folder

COAT = {
    "architecture": "coat_lite_tiny",
    "model_args": {"img_size": 64, "embed_dims": [16, 16, 16, 16], "serial_depths": [2, 1, 1, 1]},
}
ARCHITECTURES = {
    "resnet": config_of(RESNET),
    "vit": config_of(VIT),
    "convnext": config_of({"architecture": "test_convnext"}, size=32, channels=3),
    "nfnet": config_of({"architecture": "test_nfnet"}, size=64, channels=3),
    "efficientnet": config_of({"architecture": "test_efficientnet"}, size=64, channels=3),
    "two channels": config_of({"architecture": "test_byobnet", "model_args": {"in_chans": 2}}, size=64, channels=2),
    "tied weights": config_of(COAT, size=64, channels=3),
    "mambaout": config_of({"architecture": "test_mambaout"}, size=32, channels=3),
}


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_logits_equal_those_of_the_merged_file_loaded_by_timm(tmp_path: Path, config: dict[str, Any]) -> None:
    folders = write_ingredients(tmp_path, config, 3)
    for folder in folders:
        verify_folder(folder)
    stack = IngredientStack.from_folders(folders)
    weights = [0.6, 0.8, -0.4]
    soup = ResidentSoup(stack)
    soup.set_weights(np.eye(3)[1])
    soup.set_weights(weights)
    save_model(tmp_path / "soup", merge(stack, weights), soup_config(stack.config), {})
    loaded = timm.create_model(f"local-dir:{tmp_path / 'soup'}", pretrained=True).eval()
    size = config["pretrained_cfg"]["input_size"]
    images = torch.randn(3, *size, generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        torch.testing.assert_close(soup.model(images), loaded(images), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("config", ARCHITECTURES.values(), ids=ARCHITECTURES.keys())
def test_each_layer_of_a_layer_wise_soup_has_its_own_weights(tmp_path: Path, config: dict[str, Any]) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config, 3))
    shifts = np.linspace(-0.3, 0.3, stack.layout.layers).tolist()
    weights = LayerWeights(tuple((0.6 + shift, 0.8 - shift, -0.4) for shift in shifts))
    soup = ResidentSoup(stack)
    soup.set_weights(weights)
    merged, state = merge(stack, weights), soup.model.state_dict()
    parts = [merge(stack, vector) for vector in weights.vectors]
    assert {slot.layer for slot in stack.layout.slots} == set(range(stack.layout.layers))
    for slot in stack.layout.slots:
        for name in slot.names:
            assert torch.equal(merged[name], parts[slot.layer][name])
            torch.testing.assert_close(state[name], merged[name], rtol=1e-5, atol=1e-6)


def test_layers_go_from_the_stem_over_the_blocks_to_the_classifier() -> None:
    for config, expected in (
        (RESNET, {"conv1.weight": 0, "bn1.running_var": 0, "fc.weight": 5, "fc.bias": 5}),
        (VIT, {"cls_token": 0, "patch_embed.proj.weight": 0, "head.weight": 2, "head.bias": 2}),
    ):
        layout = Layout.of(build_model(config_of(config), "meta"))
        layers = {name: slot.layer for slot in layout.slots for name in slot.names}
        assert {name: layers[name] for name in expected} == expected
        assert layout.layers == max(expected.values()) + 1
    assert layers["blocks.0.mlp.fc1.weight"] == layers["norm.weight"] == 1


def test_a_model_that_names_no_layers_has_its_top_modules() -> None:
    model = nn.Sequential(OrderedDict(first=nn.Linear(3, 4), then=nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 2))))
    layout = Layout.of(model)
    assert [slot.layer for slot in layout.slots] == [0, 0, 1, 1, 1, 1]
    assert layout.layers == 2
    assert layout.segments() == [(0, slice(0, 32)), (1, slice(32, layout.size))]


def test_weights_for_another_number_of_layers_are_refused(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(VIT), 2))
    for vectors in (((1.0, 0.0),), ((1.0, 0.0, 0.0),) * stack.layout.layers):
        with pytest.raises(ValueError, match=r"layers|soup weights"):
            merge(stack, LayerWeights(vectors))


def test_parameters_are_views_and_stay_so(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(RESNET), 2))
    soup = ResidentSoup(stack)
    pointers = {name: tensor.data_ptr() for name, tensor in soup.model.state_dict().items()}
    soup.set_weights([0.0, 1.0])
    state = soup.model.state_dict()
    assert {name: tensor.data_ptr() for name, tensor in state.items()} == pointers
    row = torch.from_numpy(stack.weights[1])
    assert all(torch.equal(state[slot.names[0]], slot.read(row)) for slot in stack.layout.slots)


def test_tied_weights_stay_tied(tmp_path: Path) -> None:
    config = ARCHITECTURES["tied weights"]
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config, 2))
    tied = [slot.names for slot in stack.layout.slots if len(slot.names) > 1]
    assert tied
    soup = ResidentSoup(stack)
    soup.set_weights([0.5, 0.5])
    state, merged = soup.model.state_dict(), merge(stack, [0.5, 0.5])
    assert merged.keys() == state.keys()
    for first, *others in tied:
        assert all(state[name].data_ptr() == state[first].data_ptr() for name in others)
        assert all(torch.equal(merged[name], merged[first]) for name in others)


def test_running_variances_are_floored_and_counted(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(RESNET), 2))
    slot = next(slot for slot in stack.layout.slots if slot.is_running_variance)
    stack.weights[0, slot.offset : slot.offset + 2] = 0.5
    stack.weights[1, slot.offset : slot.offset + 2] = 5.0
    soup = ResidentSoup(stack)
    assert soup.set_weights([0.5, 0.5]).floored_channels == 0
    floored = soup.set_weights([1.4, -0.4]).floored_channels
    assert floored >= 2
    variance = soup.model.state_dict()[slot.names[0]]
    assert torch.equal(variance[:2], torch.full((2,), FLOOR_FACTOR * 0.5))
    merged = merge(stack, [1.4, -0.4])
    torch.testing.assert_close(merged[slot.names[0]], variance, rtol=1e-6, atol=1e-6)
    assert all((merged[each.names[0]] > 0).all() for each in stack.layout.slots if each.is_running_variance)


def test_read_only_weights_are_enough(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(VIT), 2))
    stack.weights.flags.writeable = False
    soup = ResidentSoup(IngredientStack.from_arrays(stack.arrays()))
    soup.set_weights([1.0, 0.0])
    assert torch.equal(soup.model.state_dict()["cls_token"].flatten(), build_row(stack, "cls_token"))


def build_row(stack: IngredientStack, name: str) -> torch.Tensor:
    slot = next(slot for slot in stack.layout.slots if name in slot.names)
    return slot.read(torch.tensor(stack.weights[0])).flatten()


def test_unknown_precision_is_refused(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(VIT), 2))
    with pytest.raises(ValueError, match="bfloat16"):
        ResidentSoup(stack, precision="float16")  # type: ignore[arg-type]


def test_a_meta_model_takes_no_memory() -> None:
    model = build_model({"architecture": "vit_base_patch16_224", "num_classes": 3, "pretrained_cfg": {}}, "meta")
    assert all(tensor.is_meta for tensor in model.parameters())
