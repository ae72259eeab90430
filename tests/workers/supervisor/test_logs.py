"""The logs of attempts: what users are told of them, and when they go."""

import os
import time
from pathlib import Path

import pytest

from service.jobs.queue import Claim
from workers.supervisor.logs import attempt_log, last_exception, remove_old_logs

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
    parts = [old.with_name(name) for name in ("api.log", "worker.log", "ray.log")]
    old.parent.mkdir()
    for path in (old, new, *parts):
        path.touch()
    for path in (old, *parts):
        os.utime(path, times=(time.time() - 100,) * 2)
    assert remove_old_logs(tmp_path, age=50) == 1
    assert not old.exists()
    assert all(path.exists() for path in (new, *parts))


def test_no_logs_are_no_trouble(tmp_path: Path) -> None:
    assert remove_old_logs(tmp_path, age=0) == 0
