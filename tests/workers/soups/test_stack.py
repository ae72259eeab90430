from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from tests.workers.soups.folders import RESNET, VIT, config_of, write_ingredients
from workers.soups.errors import IngredientError
from workers.soups.layout import ALIGNMENT
from workers.soups.merge import merge
from workers.soups.stack import IngredientStack


def test_rows_hold_every_float_of_each_ingredient(tmp_path: Path) -> None:
    folders = write_ingredients(tmp_path, config_of(RESNET), 3)
    stack = IngredientStack.from_folders(folders)
    assert stack.weights.shape == (3, stack.layout.size)
    for row, folder in zip(stack.weights, folders, strict=True):
        for slot in stack.layout.slots:
            stored = load_file(folder / "model.safetensors")[slot.names[0]]
            assert torch.equal(slot.read(torch.from_numpy(row)), stored)
            assert slot.offset % ALIGNMENT == 0


def test_integer_buffers_are_those_of_the_first_ingredient(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(RESNET), 2))
    assert set(stack.integers) == set(stack.layout.integer_names)
    merged = merge(stack, [0.5, 0.5])
    for name in stack.layout.integer_names:
        assert name.endswith("num_batches_tracked")
        assert merged[name].dtype == torch.int64
        assert merged[name].item() == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_widened_exactly(tmp_path: Path, dtype: torch.dtype) -> None:
    folders = write_ingredients(tmp_path, config_of(VIT), 2, dtype)
    stack = IngredientStack.from_folders(folders)
    merged = merge(stack, [0.0, 1.0])
    for name, tensor in load_file(folders[1] / "model.safetensors").items():
        assert tensor.dtype == dtype
        assert torch.equal(merged[name], tensor.float())


def test_arrays_give_the_same_stack_without_copying(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(RESNET), 2), names=["a", "b"])
    again = IngredientStack.from_arrays(stack.arrays())
    assert np.shares_memory(again.weights, stack.weights)
    assert again.names == ("a", "b")
    assert again.layout == stack.layout
    assert again.nbytes == stack.nbytes > stack.weights.nbytes


def test_count_and_names_are_checked(tmp_path: Path) -> None:
    folders = write_ingredients(tmp_path, config_of(VIT), 2)
    for wrong, names, code in (
        (folders[:1], None, "ingredient_count"),
        (folders * 9, None, "ingredient_count"),
        (folders, ["a"], "ingredient_count"),
        (folders, ["a", "a"], "duplicate_name"),
    ):
        with pytest.raises(IngredientError) as caught:
            IngredientStack.from_folders(wrong, names)
        assert caught.value.code == code


def test_another_shape_is_refused(tmp_path: Path) -> None:
    folders = write_ingredients(tmp_path / "five", config_of(VIT), 1)
    folders += write_ingredients(tmp_path / "six", config_of(VIT, classes=6), 1)
    with pytest.raises(IngredientError, match="has shape") as caught:
        IngredientStack.from_folders(folders, ["a", "b"])
    assert caught.value.code == "shape_mismatch"


def test_wrong_soup_weights_are_refused(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(VIT), 2))
    with pytest.raises(ValueError, match="2 soup weights"):
        stack.soup_weights([1.0])
    with pytest.raises(ValueError, match="finite"):
        stack.soup_weights([float("nan"), 1.0])
