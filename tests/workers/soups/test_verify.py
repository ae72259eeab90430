import json
import pickle
from pathlib import Path

import pytest
import torch

from tests.workers.soups.folders import RESNET, config_of, edit_config, write_ingredients
from workers.soups.errors import IngredientError
from workers.soups.files import load_tensors, save_model
from workers.soups.stack import IngredientStack
from workers.soups.verify import verify_folder


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_ingredients(tmp_path, config_of(RESNET), 1)[0]


def refusal(folder: Path) -> IngredientError:
    with pytest.raises(IngredientError) as caught:
        verify_folder(folder)
    return caught.value


def test_a_good_folder_passes(folder: Path) -> None:
    verify_folder(folder)


def test_counters_of_batches_may_be_missing(folder: Path) -> None:
    tensors = {name: tensor for name, tensor in load_tensors(folder).items() if "num_batches" not in name}
    save_model(folder, tensors, json.loads((folder / "config.json").read_text()), {})
    verify_folder(folder)
    assert IngredientStack.from_folders([folder, folder], ["a", "b"]).integers == {}


def test_an_unknown_architecture_names_close_ones(folder: Path) -> None:
    edit_config(folder, architecture="resnet_18")
    error = refusal(folder)
    assert error.code == "unknown_architecture"
    assert "resnet18" in error.message


def test_arguments_that_timm_refuses(folder: Path) -> None:
    edit_config(folder, model_args={"no_such_argument": 1})
    assert refusal(folder).code == "model_not_buildable"


def test_more_blocks_than_any_model_has(folder: Path) -> None:
    edit_config(folder, model_args={"layers": [2**20, 2, 2, 2]})
    error = refusal(folder)
    assert error.code == "model_not_buildable"
    assert "more than 10000 modules" in error.message


@pytest.mark.parametrize(
    ("text", "code"), [("{", "config_malformed"), ("[]", "config_malformed"), ("{}", "config_malformed")]
)
def test_a_malformed_configuration(folder: Path, text: str, code: str) -> None:
    (folder / "config.json").write_text(text)
    assert refusal(folder).code == code


def test_missing_files(folder: Path) -> None:
    (folder / "model.safetensors").unlink()
    assert refusal(folder).code == "weights_unreadable"
    (folder / "config.json").unlink()
    assert refusal(folder).code == "config_missing"


def test_other_weights(folder: Path) -> None:
    (folder / "model.safetensors").write_bytes(b"not safetensors")
    assert refusal(folder).code == "weights_unreadable"


def test_keys_and_shapes_must_be_exact(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    tensors = load_tensors(folder)
    for changed, code in (
        ({**tensors, "extra": torch.ones(1)}, "unexpected_keys"),
        ({name: tensor for name, tensor in tensors.items() if name != "fc.bias"}, "missing_keys"),
        ({**tensors, "fc.bias": torch.ones(6)}, "shape_mismatch"),
    ):
        save_model(folder, changed, config, {})
        assert refusal(folder).code == code


def test_the_error_survives_a_process_boundary() -> None:
    error = pickle.loads(pickle.dumps(IngredientError("missing_keys", "lacks fc.bias")))  # noqa: S301
    assert (error.code, error.message) == ("missing_keys", "lacks fc.bias")
