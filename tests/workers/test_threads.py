"""Threads that nothing but their owner ends."""

import logging
import threading

import pytest
import redis

from workers.threads import RepeatingThread

ERRORS = [redis.ConnectionError("no Redis"), OSError("no disk"), KeyError("id"), RecursionError(), UnicodeError("\xff")]


class Task:
    """Raises each of the errors once, then sets ``done`` at its second call in a row without one."""

    def __init__(self, errors: list[Exception]) -> None:
        self.errors = list(errors)
        self.calls = 0
        self.done = threading.Event()

    def __call__(self) -> None:
        if self.errors:
            raise self.errors.pop(0)
        self.calls += 1
        if self.calls == 2:
            self.done.set()


def test_no_exception_ends_it_and_each_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    task = Task(ERRORS)
    thread = RepeatingThread("sweep", task, 0.0, retry=0.0)
    thread.start()
    assert task.done.wait(10)
    thread.end()
    thread.join(10)
    assert not thread.is_alive()
    assert thread.failures == 0
    records = [record for record in caplog.records if record.name == "workers.threads"]
    assert [record.levelno for record in records] == [logging.WARNING] * 2 + [logging.ERROR] * 3
    assert records[2].getMessage() == "sweep failed, 3 in a row: 'id'"
    assert [record.exc_info is not None for record in records] == [False, False, True, True, True]


def test_it_pauses_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    called = threading.Event()

    def fail() -> None:
        called.set()
        raise KeyError

    thread = RepeatingThread("sweep", fail, 0.0, retry=60.0)
    thread.start()
    assert called.wait(10)
    thread.end()
    thread.join(10)
    assert not thread.is_alive()
    assert thread.failures == 1


def test_a_task_may_end_its_own_thread() -> None:
    calls = []

    def once() -> None:
        calls.append(1)
        thread.end()

    thread = RepeatingThread("once", once, 0.0)
    thread.start()
    thread.join(10)
    assert not thread.is_alive()
    assert calls == [1]
