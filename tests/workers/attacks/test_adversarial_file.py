"""Adversarial images in files, of a model that is quickly attacked."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workers.attacks.adversarial_file import adversarial_path, save_adversarial
from workers.attacks.apgd import Settings
from workers.attacks.robustness import RobustAccuracy, robust_accuracy
from workers.attacks.threat import Threat


@pytest.fixture
def found(standard: nn.Module, images: Tensor, labels: Tensor) -> RobustAccuracy:
    attacks = [(Threat("Linf", 0.05), Settings(steps=2))]
    return robust_accuracy(standard, images, labels, attacks, seeds=(0, 3), keep_points=True)


@pytest.fixture(params=["hard links", "no hard links"])
def hard_links(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    if request.param == "no hard links":
        monkeypatch.setattr(os, "link", no_hard_links)


def no_hard_links(source: object, target: object) -> None:
    raise PermissionError(errno.EPERM, "Operation not permitted", str(source), None, str(target))


def test_a_file_appears_whole_and_once(
    found: RobustAccuracy, images: Tensor, labels: Tensor, tmp_path: Path, hard_links: None
) -> None:
    path = adversarial_path(tmp_path / "kept")
    save_adversarial(path, found, images, labels, seeds=(0, 3))
    with np.load(path, allow_pickle=False) as content:
        assert torch.equal(torch.from_numpy(content["clean"]), images)
        assert content["robust"].shape == (1, 2, len(images))
    with pytest.raises(FileExistsError):
        save_adversarial(path, found, images, labels, seeds=(0, 3))
    assert list((tmp_path / "kept").iterdir()) == [path]
