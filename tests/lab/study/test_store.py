import os
from pathlib import Path

import numpy as np
import pytest

from lab.study.store import Store, digest_of, file_digest


def test_what_is_written_is_read(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("a/b", {"x": np.arange(3), "y": np.array("text")})
    assert store.has("a/b")
    assert store.read("a/b")["x"].tolist() == [0, 1, 2]
    assert list(store.read("a/b", "y")) == ["y"]
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.npz"]


def test_an_unfinished_file_counts_for_nothing(tmp_path: Path) -> None:
    store = Store(tmp_path)
    (tmp_path / ".b.npz.123").write_bytes(b"half")
    assert not store.has("b")
    with pytest.raises(FileNotFoundError):
        store.read("b")


def test_what_killed_runs_left_is_removed_below_all_folders(tmp_path: Path) -> None:
    store = Store(tmp_path)
    store.write("scores/a", {"x": np.arange(3)})
    left = tmp_path / "scores/.a.npz.12345"
    left.write_bytes(b"half")
    os.utime(left, (0, 0))
    store.clean()
    assert [path.name for path in (tmp_path / "scores").iterdir()] == ["a.npz"]
    Store(tmp_path / "none").clean()


def test_digests_follow_all_that_they_are_given(tmp_path: Path) -> None:
    assert digest_of("a", [1, 2.0]) == digest_of("a", [1, 2.0])
    assert len({digest_of("a", [1]), digest_of("a", [2]), digest_of("b", [1]), digest_of("a", 1)}) == 4
    (tmp_path / "f").write_bytes(b"")
    assert file_digest(tmp_path / "f").startswith("e3b0c44298fc")
