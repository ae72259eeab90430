"""Adversarial images in files, of a model that is quickly attacked."""

import errno
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from workers.attacks.adversarial_file import check_room, prepare_path, save_adversarial
from workers.attacks.attack import Attack
from workers.attacks.robustness import RobustAccuracy, robust_accuracy
from workers.attacks.threat import Threat


@pytest.fixture
def found(standard: nn.Module, images: Tensor, labels: Tensor) -> RobustAccuracy:
    attacks = [Attack(Threat("Linf", 0.05), steps=2)]
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
    path = prepare_path(tmp_path / "kept")
    save_adversarial(path, found, images, labels, seeds=(0, 3))
    with np.load(path, allow_pickle=False) as content:
        assert torch.equal(torch.from_numpy(content["clean"]), images)
        assert content["robust"].shape == (1, 2, len(images))
    with pytest.raises(FileExistsError):
        save_adversarial(path, found, images, labels, seeds=(0, 3))
    assert list((tmp_path / "kept").iterdir()) == [path]


def test_the_attack_stands_beside_its_images(
    standard: nn.Module, images: Tensor, labels: Tensor, tmp_path: Path
) -> None:
    attacks = [
        Attack(Threat("Linf", 0.05), steps=2, restarts=2),
        Attack(Threat("L1", 4.0), steps=5, loss="targeted-dlr", targets=2, larger_radii=True),
    ]
    found = robust_accuracy(standard, images[:8], labels[:8], attacks, seeds=(4,), keep_points=True)
    path = prepare_path(tmp_path)
    save_adversarial(path, found, images[:8], labels[:8], seeds=(4,))
    names = ("threats", "losses", "steps", "restarts", "targets", "larger_radii", "seeds")
    with np.load(path, allow_pickle=False) as content:
        saved = {name: content[name].tolist() for name in names}
    assert saved == {
        "threats": ["Linf:0.05", "L1:4.0"],
        "losses": ["ce", "targeted-dlr"],
        "steps": [2, 5],
        "restarts": [2, 1],
        "targets": [0, 2],
        "larger_radii": [False, True],
        "seeds": [4],
    }


def test_the_folder_is_made_and_tried_before(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    assert prepare_path(tmp_path / "new" / "kept.npz") == tmp_path / "new" / "kept.npz"
    assert list((tmp_path / "new").iterdir()) == []
    for given in (tmp_path / "file", tmp_path / "file" / "kept.npz", Path("/proc/kept.npz")):
        with pytest.raises(OSError, match="or to a folder, where you may write") as caught:
            prepare_path(given)
        assert "Errno" not in str(caught.value)


def test_what_does_not_fit_on_the_disk_is_told_before(images: Tensor, tmp_path: Path) -> None:
    check_room(tmp_path / "kept.npz", images, attacks=1, seeds=5)
    with pytest.raises(OSError, match="free some space"):
        check_room(tmp_path / "kept.npz", images, attacks=2**40, seeds=5)


def test_a_full_disk_leaves_nothing(
    found: RobustAccuracy, images: Tensor, labels: Tensor, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is the system's full device: each write to it is refused by the kernel."""
    real = Path.open
    monkeypatch.setattr(Path, "open", lambda path, mode: real(Path("/dev/full") if mode == "wb" else path, mode))
    with pytest.raises(OSError, match="free some space"):
        save_adversarial(tmp_path / "kept.npz", found, images, labels, seeds=(0, 3))
    assert list(tmp_path.iterdir()) == []
