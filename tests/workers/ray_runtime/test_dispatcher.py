"""Batches of requests for evaluators."""

import itertools
import random
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.evaluation import Bar, EvaluationRequest, Outcome, Passes, Refinement, SetOutcome, Visit
from search.loop import Found, Interrupted, OnFound
from search.objectives import Measure
from search.pruning import ExactBar
from service.errors import Unavailable
from workers.evaluation.errors import EvaluationMemoryError
from workers.ray_runtime.dispatcher import MAX_TRIES, Dispatcher, EvaluatorBatch
from workers.ray_runtime.task import STOPPED, Failure, Report

LOST = Failure("evaluator_lost", "it was killed", retryable=True)
BLOCK = 3


def requests(count: int) -> list[EvaluationRequest]:
    return [EvaluationRequest((float(index), float(1 - index))) for index in range(count)]


def outcome(request: EvaluationRequest, blocks: int) -> Outcome:
    """What identifies the request and the blocks that were seen."""
    first, last = request.blocks or (0, blocks)
    prediction = np.arange(BLOCK * first, BLOCK * last, dtype=np.int32) + 1000 * int(request.weights[0])
    return Outcome("complete", (SetOutcome(BLOCK * blocks, prediction),), Passes(len(prediction)))


class Told:
    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}

    def __call__(self, found: Found) -> None:
        for place, each in found:
            assert place not in self.outcomes
            self.outcomes[place] = each


@contextmanager
def running(dispatcher: Dispatcher, asked: list[EvaluationRequest], told: OnFound) -> Iterator[list[Exception]]:
    """``run`` in a thread while the block gives answers; what it raised is in the list at the end."""
    errors: list[Exception] = []
    begun = threading.Event()

    def run() -> None:
        try:
            dispatcher.run(asked, told, begun.set)
        except Exception as error:  # noqa: BLE001
            errors.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    assert begun.wait(30)
    yield errors
    thread.join(30)
    assert not thread.is_alive()


@settings(max_examples=60, deadline=None)
@given(
    count=st.integers(1, 40),
    names=st.integers(1, 8),
    size=st.integers(1, 16),
    blocks=st.integers(1, 7),
    choices=st.randoms(use_true_random=False),
    losses=st.integers(0, 2),
)
def test_every_request_is_told_once_and_whole(
    *, count: int, names: int, size: int, blocks: int, choices: random.Random, losses: int
) -> None:
    dispatcher = Dispatcher([f"e{index}" for index in range(names)], blocks, size)
    told, asked = Told(), requests(count)
    open_batches: dict[str, EvaluatorBatch] = {}
    number = 0
    with running(dispatcher, asked, told) as errors:
        while True:
            while len(open_batches) < 2 * names and (batch := dispatcher.next_batch(str(number))) is not None:
                assert len(batch.parts) <= size
                open_batches[str(number)] = batch
                number += 1
            if not open_batches:
                break
            batch_id = choices.choice(sorted(open_batches))
            batch = open_batches.pop(batch_id)
            answers = [outcome(request, blocks) for request in batch.requests]
            cut = len(answers) // 2
            dispatcher.take(batch_id, Report(0, answers[:cut], last=False))
            is_lost = losses > 0
            losses -= is_lost
            if not is_lost:
                dispatcher.take(batch_id, Report(cut, answers[cut:], last=True))
            dispatcher.end(batch_id, LOST if is_lost else None)
    assert errors == []
    assert {place: each.sets[0].prediction.tolist() for place, each in told.outcomes.items()} == {
        place: outcome(request, blocks).sets[0].prediction.tolist() for place, request in enumerate(asked)
    }
    assert all(each.passes == Passes(BLOCK * blocks) for each in told.outcomes.values())


def test_few_requests_are_shared_block_by_block() -> None:
    dispatcher = Dispatcher([f"e{index}" for index in range(4)], 16, 16)
    with running(dispatcher, requests(1), Told()):
        batches = [dispatcher.next_batch(str(number)) for number in range(4)]
        assert [batch is not None and batch.evaluator for batch in batches] == ["e0", "e1", "e2", "e3"]
        dispatcher.fail(ValueError("enough"))


def test_a_refined_soup_is_not_shared() -> None:
    dispatcher = Dispatcher(["a", "b"], 16, 16)
    request = EvaluationRequest((0.5, 0.5), refinement=Refinement(statistics="adapted"))
    with running(dispatcher, [request], Told()):
        batch = dispatcher.next_batch("0")
        assert batch is not None
        assert batch.requests == (request,)
        assert dispatcher.next_batch("1") is None
        dispatcher.fail(ValueError("enough"))


def test_a_visiting_soup_is_not_shared() -> None:
    dispatcher = Dispatcher(["a", "b"], 2, 16)
    request = EvaluationRequest((0.5, 0.5), visit=Visit(((0, tuple(range(2 * BLOCK))),)))
    with running(dispatcher, [request], Told()):
        batch = dispatcher.next_batch("0")
        assert batch is not None
        assert batch.requests == (request,)
        dispatcher.fail(ValueError("enough"))


def test_batches_carry_the_bar_of_their_time_and_evaluators_hear_of_a_higher_one() -> None:
    bars = [ExactBar((Measure(),), (), None)]
    raised: list[Bar] = []
    dispatcher = Dispatcher(["a"], 1, 1, raised.append)

    def on_found(found: Found) -> None:
        score = max(float(request.prediction[0]) for _, each in found for request in each.sets)
        bars.append(replace(bars[-1], best=(0.0, max(score, 1000.0))))

    asked = requests(3)
    errors: list[Exception] = []
    thread = threading.Thread(target=lambda: dispatcher.run(asked, on_found, lambda: None, lambda: bars[-1]))
    thread.start()
    carried = []
    for number in range(3):
        batch = dispatcher.next_batch(str(number), wait=True)
        while batch is None:
            batch = dispatcher.next_batch(str(number), wait=True)
        carried.append(batch.bar)
        dispatcher.take(str(number), Report(0, [outcome(each, 1) for each in batch.requests], last=True))
        dispatcher.end(str(number))
    thread.join(30)
    assert not errors
    assert carried == [bars[0], bars[1], bars[2]]
    assert raised == [bars[1], bars[3]]
    assert bars[1] == bars[2]


def test_the_evaluator_with_the_least_to_do_is_next() -> None:
    dispatcher = Dispatcher(["a", "b"], 1, 4)
    with running(dispatcher, requests(40), Told()):
        batches = [dispatcher.next_batch(str(number)) for number in range(4)]
        assert [batch.evaluator for batch in batches if batch] == ["a", "b", "a", "b"]
        second = batches[1]
        assert second is not None
        dispatcher.take("1", Report(0, [outcome(each, 1) for each in second.requests], last=True))
        dispatcher.end("1")
        following = dispatcher.next_batch("4")
        assert following is not None
        assert following.evaluator == "b"
        dispatcher.fail(ValueError("enough"))


def test_a_repeated_report_counts_once() -> None:
    dispatcher, told = Dispatcher(["a"], 1, 4), Told()
    with running(dispatcher, requests(4), told) as errors:
        for name in ("0", "1"):
            batch = dispatcher.next_batch(name)
            assert batch is not None
            report = Report(0, [outcome(each, 1) for each in batch.requests], last=True)
            dispatcher.take(name, report)
            dispatcher.take(name, report)
            dispatcher.end(name)
    assert errors == []
    assert len(told.outcomes) == 4


@pytest.mark.parametrize(("seconds", "expected"), [(0.01, 4), (0.1, 2), (1.0, 1)])
def test_a_batch_takes_long_enough_to_be_worth_handing_out(seconds: float, expected: int) -> None:
    dispatcher = Dispatcher(["a", "b"], 1, 16)
    with running(dispatcher, requests(9), Told()):
        first = dispatcher.next_batch("0")
        assert first is not None
        assert len(first.parts) == 2
        found = [replace(outcome(each, 1), seconds=seconds) for each in first.requests]
        dispatcher.take("0", Report(0, found, last=True))
        dispatcher.end("0")
        following = dispatcher.next_batch("1")
        assert following is not None
        assert len(following.parts) == expected
        dispatcher.fail(ValueError("enough"))


def test_the_last_requests_are_cut_into_pieces_of_equal_work() -> None:
    dispatcher = Dispatcher(["a", "b"], 4, 16)
    with running(dispatcher, requests(40), Told()):
        shares: list[float] = []
        while (batch := dispatcher.next_batch(str(len(shares)))) is not None:
            shares.append(sum(part.share for part in batch.parts))
        assert sum(shares) == pytest.approx(40)
        assert shares[0] == 5
        assert shares[-1] <= 0.5
        assert all(later <= sooner for sooner, later in itertools.pairwise(shares))
        dispatcher.fail(ValueError("enough"))


def test_a_batch_that_is_lost_again_and_again_fails_the_search() -> None:
    dispatcher = Dispatcher(["a"], 1, 4)
    with running(dispatcher, requests(4), Told()) as errors:
        for tries in range(MAX_TRIES):
            batch = dispatcher.next_batch(str(tries))
            assert batch is not None
            assert batch.tries == tries
            dispatcher.end(str(tries), LOST)
    (error,) = errors
    assert isinstance(error, Unavailable)
    assert error.code == "evaluator_lost"
    assert dispatcher.next_batch("more") is None


@pytest.mark.parametrize(
    ("failure", "kind"),
    [
        (Failure("evaluation_out_of_memory", "no room", retryable=False), EvaluationMemoryError),
        (Failure("evaluation_refused", "wrong weights", retryable=False), ValueError),
        (Failure(STOPPED, "the user cancelled", retryable=False), Interrupted),
        (Failure("odd", "who knows", retryable=False), RuntimeError),
    ],
)
def test_a_final_failure_is_not_tried_again(failure: Failure, kind: type[Exception]) -> None:
    dispatcher = Dispatcher(["a"], 1, 8)
    with running(dispatcher, requests(40), Told()) as errors:
        assert dispatcher.next_batch("0") is not None
        dispatcher.end("0", failure)
    assert [type(error) for error in errors] == [kind]
    assert dispatcher.is_closed


def test_what_the_listener_raises_ends_the_run() -> None:
    dispatcher = Dispatcher(["a"], 1, 8)

    def refuse(found: Found) -> None:
        raise OSError("the disk is full")

    with running(dispatcher, requests(2), refuse) as errors:
        batch = dispatcher.next_batch("0")
        assert batch is not None
        dispatcher.take("0", Report(0, [outcome(each, 1) for each in batch.requests], last=True))
    assert [str(error) for error in errors] == ["the disk is full"]
