"""Several fine-tunes at once, without what each trains."""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from threading import Event

import pytest

from soupsearch.cli.building import results, waiting_threads

DEADLINE = 20


class Submitted:
    """A pool that remembers what it was given, and the most that were unfinished at once."""

    def __init__(self, pool: ThreadPoolExecutor) -> None:
        self.pool = pool
        self.tasks: list[Callable[[], Path]] = []
        self.most = 0
        self._futures: list[Future[Path]] = []

    def __call__(self, task: Callable[[], Path]) -> Future[Path]:
        self.tasks.append(task)
        self._futures.append(self.pool.submit(task))
        self.most = max(self.most, sum(not future.done() for future in self._futures))
        return self._futures[-1]


@pytest.fixture
def submitted() -> Iterator[Submitted]:
    with ThreadPoolExecutor(3) as pool:
        yield Submitted(pool)


def test_none_is_begun_after_one_has_failed(submitted: Submitted) -> None:
    failed = Event()

    def running() -> Path:
        assert failed.wait(DEADLINE)
        return Path("running")

    def failing() -> Path:
        raise ValueError("holds an ingredient of another recipe")

    def queued() -> Path:
        return Path("queued")

    with pytest.raises(ValueError, match="another recipe"):
        results(submitted, [running, failing, queued, queued], 2)
    failed.set()
    assert submitted.tasks == [running, failing]


def test_results_come_in_order_and_no_more_than_so_many_at_once(submitted: Submitted) -> None:
    second = Event()

    def slow() -> Path:
        assert second.wait(DEADLINE)
        return Path("slow")

    def quick() -> Path:
        return Path("quick")

    def last() -> Path:
        second.set()
        return Path("last")

    assert results(submitted, [slow, quick, last], 2) == [Path("slow"), Path("quick"), Path("last")]
    assert submitted.most <= 2


def test_threads_that_wait_go_on_when_another_has_failed() -> None:
    failed, ended = Event(), Event()

    def running() -> Path:
        assert failed.wait(DEADLINE)
        ended.set()
        return Path("running")

    def failing() -> Path:
        failed.set()
        raise ValueError("the training diverged")

    with pytest.raises(ValueError, match="diverged"), waiting_threads() as submit:
        results(submit, [running, failing], 2)
    assert ended.is_set()


def test_an_interrupt_waits_for_no_thread() -> None:
    never = Event()

    def running() -> Path:
        assert never.wait(DEADLINE)
        return Path("running")

    def interrupted() -> Path:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt), waiting_threads() as submit:
        results(submit, [running, interrupted, running], 2)
    never.set()
