from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from tests.workers.soups.folders import RESNET, config_of, write_ingredients
from workers.soups.files import model_file_bytes
from workers.soups.merge import FLOOR_FACTOR, merge
from workers.soups.stack import IngredientStack


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    return write_ingredients(tmp_path_factory.mktemp("pantry"), config_of(RESNET), 4)


@pytest.fixture(scope="module")
def stack(folders: list[Path]) -> IngredientStack:
    return IngredientStack.from_folders(folders)


@settings(max_examples=25, deadline=None)
@given(free=st.lists(st.floats(-0.4, 1.4), min_size=3, max_size=3))
def test_merge_is_the_sum_of_each_parameter(stack: IngredientStack, folders: list[Path], free: list[float]) -> None:
    weights = [*free, 1 - sum(free)]
    merged = merge(stack, weights)
    files = [load_file(folder / "model.safetensors") for folder in folders]
    assert merged.keys() == files[0].keys()
    for name, tensor in merged.items():
        if not tensor.is_floating_point():
            continue
        terms = (w * file[name].double() for w, file in zip(weights, files, strict=True))
        expected = sum(terms, torch.tensor(0.0, dtype=torch.float64))
        if name.endswith("running_var"):
            least = torch.stack([file[name].double() for file in files]).amin(dim=0)
            expected = torch.where(expected > 0, expected, FLOOR_FACTOR * least)
        assert tensor.dtype == torch.float32
        torch.testing.assert_close(tensor.double(), expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("index", range(4))
def test_one_hot_weights_reproduce_the_ingredient(stack: IngredientStack, folders: list[Path], index: int) -> None:
    merged = merge(stack, np.eye(4)[index])
    stored = load_file(folders[index] / "model.safetensors")
    assert all(torch.equal(merged[name], stored[name]) for name in stored if stored[name].is_floating_point())


def test_bytes_do_not_depend_on_threads(stack: IngredientStack) -> None:
    metadata = {"b": "2", "a": "1"}
    before = torch.get_num_threads()
    files = set()
    for threads in (1, 2, 3):
        torch.set_num_threads(threads)
        files.add(model_file_bytes(merge(stack, [0.6, -0.4, 1.2, -0.4]), metadata))
    torch.set_num_threads(before)
    assert len(files) == 1
