"""A folder for an attempt's temporary files."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from workers.jobs.process import scratch_folder


def test_folders_of_killed_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    left = tmp_path / f"soupsearch-job-{ended.pid}-abc"
    alive = tmp_path / f"soupsearch-job-{os.getppid()}-abc"
    odd = [tmp_path / f"soupsearch-job-{name}-abc" for name in ("9" * 30, "²", "")]
    for folder in (left, alive, *odd):
        (folder / "search").mkdir(parents=True)
    with scratch_folder() as folder:
        assert folder.parent == tmp_path
        (folder / "file").touch()
        assert not left.exists()
    assert set(tmp_path.iterdir()) == {alive, *odd}
