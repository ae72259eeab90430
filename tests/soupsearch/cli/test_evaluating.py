"""The evaluate command on models that answer, and on those that do not."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.soupsearch.cli.commands import exit_code
from tests.workers.soups.folders import RESNET, build, config_of, randomise
from workers.soups.files import save_model

CONFIG = config_of(RESNET)
COUNT = 12


@pytest.fixture
def archive(tmp_path: Path) -> Path:
    path = tmp_path / "set.npz"
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 28, 28), dtype=np.uint8)
    np.savez(path, images=images, labels=np.arange(COUNT) % 5)
    return path


def model(folder: Path, *, broken: bool) -> Path:
    network = build(CONFIG)
    randomise(network, 0)
    tensors = network.state_dict()
    if broken:
        tensors["fc.bias"] = torch.full_like(tensors["fc.bias"], torch.nan)
    save_model(folder, tensors, CONFIG, {})
    return folder


def test_a_model_that_answers_has_a_likelihood(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model(tmp_path / "model", broken=False)
    assert exit_code("evaluate", folder, archive) == 0
    shown = capsys.readouterr().out
    assert "negative log-likelihood" in shown
    assert "finite" not in shown
    assert exit_code("evaluate", folder, archive, "--json") == 0
    document = json.loads(capsys.readouterr().out)
    assert document["nll"] > 0
    assert document["not_finite"] == 0


def test_outputs_that_are_not_finite_are_told(
    tmp_path: Path, archive: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = model(tmp_path / "model", broken=True)
    assert exit_code("evaluate", folder, archive) == 0
    shown = " ".join(capsys.readouterr().out.split())
    assert f"accuracy 0.0% (0 of {COUNT} images" in shown
    assert f"outputs are not finite on {COUNT} of the images" in shown
    assert exit_code("evaluate", folder, archive, "--json") == 0
    document = json.loads(capsys.readouterr().out, parse_constant=pytest.fail)
    assert (document["accuracy"], document["nll"], document["not_finite"]) == (0.0, None, COUNT)
