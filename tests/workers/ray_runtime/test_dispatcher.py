"""Batches of points for evaluators."""

from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.evaluation import Evaluation
from search.strategies import FixedStrategy
from workers.ray_runtime.dispatcher import MAX_TRIES, Batch, Dispatcher
from workers.ray_runtime.task import Problem

LOST = Problem("evaluator_lost", "it was killed", retryable=True)


class Recording(FixedStrategy):
    """Remembers what it is told."""

    def __init__(self, count: int) -> None:
        super().__init__(np.array([[index, 1 - index] for index in range(count)], dtype=float))
        self.told: list[tuple[float, ...]] = []

    def tell(self, evaluations: Iterable[Evaluation]) -> None:
        self.told += [evaluation.weights for evaluation in evaluations]


def evaluations(batch: Batch) -> list[Evaluation]:
    return [Evaluation(weights, 0.5, 1.0) for weights in batch.weights]


def order(count: int) -> list[tuple[float, ...]]:
    return [(float(index), float(1 - index)) for index in range(count)]


@given(
    count=st.integers(1, 60),
    names=st.integers(1, 4),
    size=st.integers(1, 16),
    choices=st.randoms(use_true_random=False),
    losses=st.integers(0, 2),
)
def test_every_point_once_and_told_in_order(
    count: int, names: int, size: int, choices: np.random.Generator, losses: int
) -> None:
    strategy = Recording(count)
    dispatcher = Dispatcher(strategy, [f"e{index}" for index in range(names)], size)
    open_batches: dict[str, Batch] = {}
    done: list[tuple[float, ...]] = []
    number = 0
    while True:
        while len(open_batches) < 2 * names and (batch := dispatcher.next_batch(str(number))) is not None:
            assert len(batch.weights) <= size
            open_batches[str(number)] = batch
            number += 1
        if not open_batches:
            break
        batch_id = choices.choice(sorted(open_batches))
        batch = open_batches.pop(batch_id)
        finished = evaluations(batch)
        if losses:
            losses -= 1
            finished = finished[: len(finished) // 2]
        done += [evaluation.weights for evaluation in dispatcher.take(batch_id, finished)]
        dispatcher.close(batch_id, None if len(finished) == len(batch.weights) else LOST)
    assert dispatcher.is_finished
    assert dispatcher.failure is None
    assert sorted(done) == sorted(order(count))
    assert strategy.told == order(count)


def test_the_evaluator_with_the_least_to_do_is_next() -> None:
    dispatcher = Dispatcher(Recording(40), ["a", "b"], 4)
    batches = [dispatcher.next_batch(str(number)) for number in range(4)]
    assert [batch.evaluator for batch in batches if batch] == ["a", "b", "a", "b"]
    second = batches[1]
    assert second is not None
    dispatcher.take("1", evaluations(second))
    dispatcher.close("1")
    following = dispatcher.next_batch("4")
    assert following is not None
    assert following.evaluator == "b"


def test_a_repeated_report_counts_once() -> None:
    dispatcher = Dispatcher(Recording(4), ["a"], 4)
    batch = dispatcher.next_batch("0")
    assert batch is not None
    assert len(dispatcher.take("0", evaluations(batch))) == 4
    assert dispatcher.take("0", evaluations(batch)) == []


def test_a_batch_that_is_lost_again_and_again_fails_the_search() -> None:
    dispatcher = Dispatcher(Recording(4), ["a"], 4)
    for tries in range(MAX_TRIES):
        assert dispatcher.failure is None
        batch = dispatcher.next_batch(str(tries))
        assert batch is not None
        assert batch.tries == tries
        dispatcher.close(str(tries), LOST)
    assert dispatcher.failure == LOST
    assert dispatcher.next_batch("more") is None


@pytest.mark.parametrize("known", [0, 10])
def test_a_final_problem_is_not_tried_again(known: int) -> None:
    problem = Problem("evaluation_out_of_memory", "no room", retryable=False)
    dispatcher = Dispatcher(Recording(40), ["a"], 8, known)
    assert dispatcher.next_batch("0") is not None
    dispatcher.close("0", problem)
    assert dispatcher.failure == problem
    assert dispatcher.is_finished
