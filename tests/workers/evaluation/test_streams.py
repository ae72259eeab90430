from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from workers.evaluation.streams import Streams


@given(st.integers(1, 6), st.lists(st.integers(), max_size=20))
def test_results_come_in_order(threads: int, items: list[int]) -> None:
    assert list(Streams(threads, max(1, len(items))).map(lambda item: item * 2, items)) == [item * 2 for item in items]


def test_streams_work_at_once() -> None:
    both = threading.Barrier(2)
    assert sorted(Streams(2, 2).map(lambda _: both.wait(timeout=30), range(2))) == [0, 1]


@pytest.mark.parametrize(
    ("threads", "most", "shares"), [(2, 8, [1, 1]), (8, 3, [3, 3, 2]), (2, 1, [2]), (1, 9, [1]), (3, 2, [2, 1])]
)
def test_streams_share_the_threads(threads: int, most: int, shares: list[int]) -> None:
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(threads)
        streams = Streams(threads, most)
        together = threading.Barrier(len(shares))

        def share(_: int) -> int:
            together.wait(timeout=30)
            return torch.get_num_threads()

        assert streams.count == len(shares)
        assert sorted(streams.map(share, range(len(shares))), reverse=True) == shares
        assert torch.get_num_threads() == threads
    finally:
        torch.set_num_threads(before)


def test_streams_of_one_shape_use_the_same_threads() -> None:
    names = [set(Streams(2, 2).map(lambda _: threading.current_thread().name, range(9))) for _ in range(20)]
    assert len(set().union(*names)) <= 2


def test_threads_that_cannot_start_leave_none_behind(monkeypatch: pytest.MonkeyPatch) -> None:
    before, start = torch.get_num_threads(), threading.Thread.start
    begun: list[threading.Thread] = []

    def limited(thread: threading.Thread) -> None:
        if len(begun) == 2:
            raise RuntimeError("can't start new thread")
        begun.append(thread)
        start(thread)

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", limited)
        with pytest.raises(RuntimeError, match="can't start"):
            Streams(7, 5)
    for thread in begun:
        thread.join(timeout=30)
        assert not thread.is_alive()
    assert torch.get_num_threads() == before


def test_items_are_taken_as_they_are_needed() -> None:
    taken = []

    def items() -> Iterator[int]:
        for item in range(100):
            taken.append(item)
            yield item

    results = Streams(2, 100).map(abs, items())
    assert [next(results), next(results)] == [0, 1]
    assert len(taken) <= 5
    results.close()


def test_closing_waits_for_what_has_begun() -> None:
    begun, release, ended = threading.Event(), threading.Event(), []

    def work(item: int) -> int:
        if item:
            begun.set()
            release.wait(30)
        ended.append(item)
        return item

    results = Streams(2, 9).map(work, range(9))
    assert next(results) == 0
    assert begun.wait(30)
    threading.Timer(0.2, release.set).start()
    results.close()
    assert len(ended) > 1
    assert set(ended) <= {0, 1, 2}


def test_an_error_is_raised_in_its_turn() -> None:
    results = Streams(2, 4).map(lambda item: 1 // item, [1, 1, 0, 1])
    assert [next(results), next(results)] == [1, 1]
    with pytest.raises(ZeroDivisionError):
        next(results)
