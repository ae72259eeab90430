from __future__ import annotations

import errno
import os
import resource
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

import numpy as np
import pytest
import torch

from lab.study.store import Store
from lab.training.checkpoint import load_checkpoint, save_checkpoint
from workers.whole_file import remove_stale, whole_file

FULL_DEVICE = Path("/dev/full")
DAY = 86_400


@pytest.fixture
def full_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files opened for writing are the system's full device: each write to it is refused by the kernel."""
    real = Path.open

    def opened(path: Path, mode: str = "r") -> BinaryIO:
        return real(FULL_DEVICE if "w" in mode else path, mode)  # type: ignore[return-value]

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


def unfinished_name(folder: Path) -> str:
    """What this process adds to the name of an unfinished file, less its id."""
    with whole_file(folder / "name"):
        (path,) = folder.iterdir()
    (folder / "name").unlink()
    return path.name.removeprefix(".name").removesuffix(str(os.getpid()))


@pytest.fixture
def gone() -> int:
    """The id of a process that was here."""
    with subprocess.Popen([sys.executable, "-c", ""]) as process:
        process.wait(60)
    return process.pid


def make_of_age(path: Path, seconds: float) -> Path:
    path.touch()
    os.utime(path, (time.time() - seconds,) * 2)
    return path


def test_what_a_killed_process_left_is_removed_and_what_is_being_written_stays(tmp_path: Path, gone: int) -> None:
    """Files of: a process that is gone, the same a moment ago, this process, this process two days ago, and others'."""
    here = unfinished_name(tmp_path)
    (tmp_path / "folder").mkdir()
    kept = {f".b{here}{gone}": 5, f".c{here}{os.getpid()}": 90, "e.npz": 2 * DAY, ".f.npz": 2 * DAY}
    removed = {f".a{here}{gone}": 90, f".d{here}{os.getpid()}": 2 * DAY}
    paths = [make_of_age(tmp_path / name, age) for name, age in (kept | removed).items()]
    remove_stale([*paths, tmp_path / f".vanished{here}{gone}"])
    assert {path.name for path in paths if path.exists()} == set(kept)


def test_a_file_of_another_machine_stays_for_a_day(tmp_path: Path, gone: int) -> None:
    """Its process may well run there: on another host, or in a container of this one. Names of before named neither."""
    machines = ("elsewhere-1.", socket.gethostname().replace(".", "-") + "-1.", "")
    young = [make_of_age(tmp_path / f".a.npz.{machine}{gone}", DAY - 3600) for machine in machines]
    old = [make_of_age(tmp_path / f".b.npz.{machine}{gone}", DAY + 3600) for machine in machines]
    remove_stale(young + old)
    assert sorted(tmp_path.iterdir()) == sorted(young)


@pytest.mark.parametrize("host", ["node-1.example.org", "0.example"])
def test_a_host_name_with_dots_is_this_machine_too(
    host: str, tmp_path: Path, gone: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(socket, "gethostname", lambda: host)
    remove_stale([make_of_age(tmp_path / f".a{unfinished_name(tmp_path)}{gone}", 90)])
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_file_stays(tmp_path: Path) -> None:
    folder = tmp_path / ".a.npz.elsewhere.1"
    folder.mkdir()
    link = tmp_path / ".b.npz.elsewhere.1"
    link.symlink_to(folder)
    for path in (folder, link):
        os.utime(path, (0, 0), follow_symlinks=False)
    remove_stale([folder, link])
    assert link.is_symlink()
    assert folder.is_dir()


def test_a_file_that_may_not_be_removed_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others, own = (make_of_age(tmp_path / f".{name}.npz.elsewhere.1", 2 * DAY) for name in "ab")
    unlink = Path.unlink

    def refused_to_others(path: Path) -> None:
        if path == others:
            raise PermissionError(errno.EPERM, "Operation not permitted", str(path))
        unlink(path)

    monkeypatch.setattr(Path, "unlink", refused_to_others)
    remove_stale([others, own])
    assert list(tmp_path.iterdir()) == [others]


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


def test_a_file_larger_than_is_allowed_is_told_as_a_full_disk(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match="free some space") as caught, whole_file(tmp_path / "a") as file:
            file.write(bytes(2**20))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert caught.value.errno == errno.EFBIG
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
