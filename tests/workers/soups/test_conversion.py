"""Files of a state_dict as timm folders."""

import argparse
import json
import os
import pickle
from collections import OrderedDict
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from timm.models import load_state_dict
from torch import nn
from torch.optim.swa_utils import AveragedModel

from tests.limits import no_more_files
from workers.soups.conversion import ConversionError, Weights, convert_state_dict

CONFIG = {"architecture": "resnet18", "num_classes": 3}


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "architecture.json"
    path.write_text(json.dumps(CONFIG))
    return path


@pytest.fixture
def model() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))


def converted(content: Any, config: Path) -> dict[str, torch.Tensor]:
    source, target = config.parent / "checkpoint.pt", config.parent / "out" / "ingredient"
    torch.save(content, source)
    convert_state_dict(source, config, target)
    assert json.loads((target / "config.json").read_text()) == CONFIG
    return load_file(target / "model.safetensors")


def assert_same(found: dict[str, torch.Tensor], state: dict[str, torch.Tensor]) -> None:
    assert found.keys() == state.keys()
    for name, tensor in state.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)


@pytest.mark.parametrize("key", [None, "state_dict", "model_state_dict", "model", "ema", "net"])
def test_the_tensors_may_be_wrapped(key: str | None, config: Path, model: nn.Module) -> None:
    state = model.state_dict()
    content = state if key is None else {key: state, "epoch": 9, "args": {"lr": 0.1}}
    assert_same(converted(content, config), state)


TRAINED, AVERAGE = {"weight": torch.zeros(2)}, {"weight": torch.ones(2)}


@pytest.mark.parametrize(("trained", "average"), [("state_dict", "state_dict_ema"), ("model", "model_ema")])
@pytest.mark.parametrize("use_ema", [True, False])
def test_the_moving_average_is_taken_as_timm_takes_it(trained: str, average: str, use_ema: bool, config: Path) -> None:
    source, target = config.parent / "checkpoint.pth.tar", config.parent / "out"
    torch.save({trained: TRAINED, average: AVERAGE, "args": argparse.Namespace(lr=0.1)}, source)
    taken = convert_state_dict(source, config, target, use_ema=use_ema)
    assert taken == (Weights(average, trained) if use_ema else Weights(trained, average))
    assert_same(load_file(target / "model.safetensors"), load_state_dict(str(source), use_ema=use_ema))


@pytest.mark.parametrize(
    ("content", "taken"),
    [
        ({"model": TRAINED, "ema": AVERAGE}, Weights("ema", "model")),
        ({"ema": AVERAGE}, Weights("ema", None)),
        ({"state_dict": TRAINED, "state_dict_ema": None}, Weights("state_dict", None)),
        (TRAINED, Weights(None, None)),
    ],
)
def test_which_weights_were_taken_is_told(content: Any, taken: Weights, config: Path) -> None:
    torch.save(content, config.parent / "checkpoint.pt")
    assert convert_state_dict(config.parent / "checkpoint.pt", config, config.parent / "out") == taken


def test_an_average_alone_is_refused_where_none_is_wanted(config: Path) -> None:
    torch.save({"state_dict_ema": AVERAGE}, config.parent / "checkpoint.pt")
    with pytest.raises(ConversionError, match="leave --no-ema out"):
        convert_state_dict(config.parent / "checkpoint.pt", config, config.parent / "out", use_ema=False)


def test_an_averaged_model_of_torch_loses_its_counter(config: Path, model: nn.Module) -> None:
    content = {"model": model.state_dict(), "model_ema": AveragedModel(model).state_dict()}
    assert_same(converted(content, config), model.state_dict())


def test_a_machine_out_of_file_handles_does_not_make_the_file_unreadable(config: Path) -> None:
    source = config.parent / "checkpoint.pt"
    torch.save(TRAINED, source)
    with no_more_files(), pytest.raises(OSError, match="Too many open files"):
        convert_state_dict(source, config, config.parent / "out")


@pytest.mark.parametrize("prefix", ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."])
def test_prefixes_of_wrapped_modules_are_taken_off(prefix: str, config: Path, model: nn.Module) -> None:
    state = model.state_dict()
    assert_same(converted({prefix + name: tensor for name, tensor in state.items()}, config), state)


def test_a_prefix_that_not_all_share_belongs_to_the_model(config: Path) -> None:
    state = {"module.weight": torch.ones(2), "head.weight": torch.zeros(2)}
    assert_same(converted(state, config), state)


def test_parameters_views_and_tied_tensors_are_written_whole(config: Path) -> None:
    matrix = torch.arange(6.0).reshape(2, 3)
    state = {"a": nn.Parameter(matrix), "transposed": matrix.T, "tied": matrix, "count": torch.tensor(7)}
    found = converted(OrderedDict(state), config)
    assert_same(found, {name: tensor.detach() for name, tensor in state.items()})


class RunsCode:
    """A pickle that would run a command where it is read."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (self.command,)


@pytest.mark.parametrize("legacy", [True, False])
def test_a_pickle_with_code_in_it_is_refused_and_does_not_run(legacy: bool, config: Path) -> None:
    source, trace = config.parent / "checkpoint.pt", config.parent / "ran"
    content = {"weight": torch.ones(2), "extra": RunsCode(f"touch {trace}")}
    torch.save(content, source, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(ConversionError, match="runs no code"):
        convert_state_dict(source, config, config.parent / "out")
    assert not trace.exists()
    assert not (config.parent / "out").exists()


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"weight": torch.ones(2), "epoch": 3}, "'epoch', which is no dense tensor"),
        ({"model": {"weight": torch.ones(2)}, "ema": {"decay": 0.9}}, "'decay', .* or take model by --no-ema"),
        ({"weight": torch.ones(2).to_sparse()}, "'weight', which is no dense tensor"),
        ({}, "holds no state_dict"),
        ({"state_dict": {}}, "holds no state_dict"),
        ([torch.ones(2)], "holds no state_dict"),
        (torch.ones(2), "holds no state_dict"),
    ],
)
def test_what_is_no_state_dict_is_refused(content: Any, message: str, config: Path) -> None:
    with pytest.raises(ConversionError, match=message):
        converted(content, config)
    assert not (config.parent / "out").exists()


def test_a_whole_model_is_refused(config: Path, model: nn.Module) -> None:
    with pytest.raises(ConversionError, match="state_dict"):
        converted(model, config)


def test_a_config_that_is_no_json_is_refused(config: Path) -> None:
    config.write_text("architecture: resnet18")
    torch.save({"weight": torch.ones(2)}, config.parent / "checkpoint.pt")
    with pytest.raises(ConversionError, match="not a JSON file"):
        convert_state_dict(config.parent / "checkpoint.pt", config, config.parent / "out")


@settings(max_examples=60)
@given(st.one_of(st.binary(max_size=60), st.binary(max_size=60).map(lambda tail: b"\x80\x02" + tail)))
def test_no_bytes_bring_it_down(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    folder = tmp_path_factory.getbasetemp()
    source = folder / "checkpoint.pt"
    source.write_bytes(content)
    with pytest.raises(ConversionError):
        convert_state_dict(source, folder / "absent.json", folder / "out")


def test_a_plain_pickle_is_refused(config: Path) -> None:
    source = config.parent / "checkpoint.pt"
    source.write_bytes(pickle.dumps({"weight": [1.0, 2.0]}))
    with pytest.raises(ConversionError):
        convert_state_dict(source, config, config.parent / "out")
