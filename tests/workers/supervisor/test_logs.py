"""The logs of attempts: what users are told of them, and when they go."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from service.jobs.queue import Claim
from tests.waiting import wait_until
from workers.supervisor.logs import attempt_log, last_exception, remove_old_logs, rotate

TRACEBACK = """INFO:root:loading
Traceback (most recent call last):
  File "/srv/soup/first.py", line 1, in load
KeyError: 'first'

During handling of the above exception, another exception occurred:

Traceback (most recent call last):
  File "/srv/soup/second.py", line 2, in load
    raise Unavailable(msg)
    ^^^^^^^^^^^^^^^^^^^^^^
service.errors.Unavailable: no Ray cluster answers
INFO:root:goodbye
"""


@pytest.mark.parametrize(
    ("text", "line"),
    [
        (TRACEBACK, "service.errors.Unavailable: no Ray cluster answers"),
        ("x" * 50_000 + "\n" + TRACEBACK, "service.errors.Unavailable: no Ray cluster answers"),
        ("Traceback (most recent call last):\n  File\nMemoryError\n", "MemoryError"),
        ("*** SIGSEGV at /srv/soup/libtorch.so\nError: no traceback\n", ""),
        ("", ""),
    ],
)
def test_users_learn_the_exception_alone(tmp_path: Path, text: str, line: str) -> None:
    log = tmp_path / "a.1.log"
    log.write_text(text)
    assert last_exception(log) == line


def test_a_log_that_is_gone_tells_nothing(tmp_path: Path) -> None:
    assert last_exception(tmp_path / "gone.log") == ""


def test_only_old_logs_of_attempts_are_removed(tmp_path: Path) -> None:
    old, new = (attempt_log(tmp_path, Claim("0" * 20, attempt)) for attempt in (1, 2))
    rotated = old.with_name(f"{old.name}.1")
    parts = [old.with_name(name) for name in ("api.log", "api.log.1", "worker.log", "ray.log")]
    old.parent.mkdir()
    for path in (old, rotated, new, *parts):
        path.touch()
    for path in (old, rotated, *parts):
        os.utime(path, times=(time.time() - 100,) * 2)
    assert remove_old_logs(tmp_path, age=50) == 2
    assert not old.exists()
    assert not rotated.exists()
    assert all(path.exists() for path in (new, *parts))


def test_no_logs_are_no_trouble(tmp_path: Path) -> None:
    assert remove_old_logs(tmp_path, age=0) == 0


ECHO = "import sys\nfor line in sys.stdin:\n    print(line, end='', flush=True)"


def test_the_log_of_a_process_that_writes_on_is_kept_short(tmp_path: Path) -> None:
    log, older, limit, lines = tmp_path / "api.log", tmp_path / "api.log.1", 1000, 500
    with (
        log.open("ab") as output,
        subprocess.Popen([sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=output, text=True) as writer,
    ):
        assert writer.stdin is not None
        for number in range(lines):
            before = log.stat().st_size
            writer.stdin.write(f"line {number:09}\n")
            writer.stdin.flush()
            wait_until(lambda: log.stat().st_size > before, interval=0.001)  # noqa: B023
            rotate(log, limit)
            assert log.stat().st_size <= limit
    written = (older.read_text() + log.read_text()).splitlines()[1:]
    assert older.stat().st_size == limit
    assert written == [f"line {number:09}" for number in range(lines - len(written), lines)]


def test_a_log_that_cannot_be_copied_is_emptied_all_the_same(tmp_path: Path) -> None:
    log = tmp_path / "api.log"
    log.write_bytes(b"x" * 101)
    (tmp_path / "api.log.1").mkdir()
    rotate(log, 101)
    assert log.stat().st_size == 101
    rotate(log, 100)
    assert log.read_bytes() == b""


def test_a_log_that_is_not_there_is_left_alone(tmp_path: Path) -> None:
    rotate(tmp_path / "api.log", 100)
    assert list(tmp_path.iterdir()) == []
