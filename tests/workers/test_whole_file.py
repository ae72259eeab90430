from __future__ import annotations

import errno
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from workers.study.store import Store
from workers.training.checkpoint import load_checkpoint, save_checkpoint
from workers.whole_file import remove_stale, whole_file

FULL_DEVICE = Path("/dev/full")


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files opened for writing are the system's full device: each write to it is refused by the kernel."""
    real = Path.open

    def opened(path: Path, mode: str = "r") -> BinaryIO:
        return real(FULL_DEVICE if "w" in mode else path, mode)  # type: ignore[return-value, call-overload]

    monkeypatch.setattr(Path, "open", opened)


def test_the_former_file_stays_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "a"
    path.write_bytes(b"old")
    with whole_file(path) as file:
        file.write(b"new")
        file.flush()
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"
    with pytest.raises(TypeError), whole_file(path) as file:
        file.writelines([b"half", "no bytes"])  # type: ignore[list-item]
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_stays(tmp_path: Path) -> None:
    """Files of: a process that is gone, the same a moment ago, this process, this process two days ago, and others'."""
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(60)
    now = time.time()
    ages = {f".a.npz.{gone.pid}": 90, f".b.npz.{gone.pid}": 5, f".c.npz.{os.getpid()}": 90}
    ages |= {f".d.npz.{os.getpid()}": 2 * 86_400, "e.npz": 2 * 86_400, ".f.npz": 2 * 86_400}
    for name, age in ages.items():
        (tmp_path / name).touch()
        os.utime(tmp_path / name, (now - age, now - age))
    remove_stale(tmp_path.iterdir())
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == [f".b.npz.{gone.pid}", f".c.npz.{os.getpid()}", ".f.npz", "e.npz"]
    remove_stale([tmp_path / f".vanished.{gone.pid}"])


def test_other_errors_stay_as_they_are(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="mine"), whole_file(tmp_path / "a"):
        raise ValueError("mine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("full_disk")
def test_a_study_on_a_full_disk_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="free some space") as caught:
        Store(tmp_path).write("a", {"x": np.zeros(10000)})
    assert caught.value.errno == errno.ENOSPC
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_on_a_full_disk_keeps_the_former_one(tmp_path: Path, request: pytest.FixtureRequest) -> None:
    """PyTorch hides the system's error behind one of its own."""
    path = tmp_path / "checkpoint"
    save_checkpoint(path, "d", {"step": 1})
    request.getfixturevalue("full_disk")
    with pytest.raises(OSError, match="free some space"):
        save_checkpoint(path, "d", {"x": torch.zeros(100000)})
    assert load_checkpoint(path, "d") == {"step": 1}
    assert list(tmp_path.iterdir()) == [path]
