from __future__ import annotations

from pathlib import Path

import pytest
import torch

from lab.training.checkpoint import CheckpointMismatchError, load_checkpoint, save_checkpoint


def test_a_state_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "run.checkpoint"
    save_checkpoint(path, "a", {"step": 1})
    save_checkpoint(path, "a", {"step": 3, "network": {"weight": torch.arange(3)}})
    state = load_checkpoint(path, "a")
    assert state is not None
    assert state["step"] == 3
    assert torch.equal(state["network"]["weight"], torch.arange(3))
    assert list(tmp_path.iterdir()) == [path]


def test_no_file_is_no_state(tmp_path: Path) -> None:
    assert load_checkpoint(tmp_path / "none", "a") is None


def test_another_recipe_is_refused(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "run", "a", {"step": 1})
    with pytest.raises(CheckpointMismatchError, match="remove it to start again"):
        load_checkpoint(tmp_path / "run", "b")


def test_a_failed_save_leaves_the_old_state(tmp_path: Path) -> None:
    path = tmp_path / "run"
    save_checkpoint(path, "a", {"step": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(path, "a", {"step": lambda: 2})
    assert load_checkpoint(path, "a") == {"step": 1}
