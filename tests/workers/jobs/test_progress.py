"""What an attempt writes while it runs, to a real Redis."""

import threading

import pytest

from service.errors import FencedOut
from service.jobs.queue import Claim
from service.jobs.store import JobStore, NewJob
from service.schemas.job import RequestEcho
from service.schemas.request import AdaptRequest, Grid
from service.settings import Settings
from workers.evaluation.scores import SetScore, SoupScore
from workers.jobs.plan import plan_search
from workers.jobs.progress import CancelWatch, Recorder
from workers.jobs.scoring import Scoring

NAMES = ["one", "two"]
SET = "5" * 64
SCOPE = "scope"


@pytest.fixture
def claim(job_store: JobStore) -> Claim:
    echo = RequestEcho(
        request=AdaptRequest(pantry="tiny"), pantry_digest="0" * 64, adaptation_sets=[SET], ingredients=NAMES
    )
    job_store.submit(NewJob(echo), idempotency_key=None, body_digest="")
    claim = job_store.claim("tests")
    assert claim is not None
    return claim


def recorder(store: JobStore, claim: Claim, settings: Settings, step: float = 0.5) -> Recorder:
    plan = plan_search(Grid(lower=0, upper=1, step=step), 2, settings)
    return Recorder(store, claim, plan, Scoring(AdaptRequest(pantry="tiny"), [SET]), NAMES)


def score(first: float, correct: int) -> SoupScore:
    sets = (SetScore(correct, 10, 10, 5.0),)
    return SoupScore(weights=(first, 1 - first), sets=sets, finite=True, complete=True, floored_channels=0, seconds=0.1)


def test_points_are_in_the_job_and_the_journal(job_store: JobStore, claim: Claim, settings: Settings) -> None:
    writer = recorder(job_store, claim, settings)
    assert writer.start(SCOPE) == 0
    writer.take([score(1.0, 3), score(0.5, 8)])
    writer.take([score(0.0, 5)])
    job = job_store.get(claim.job_id)
    assert (job.progress.done, job.progress.total) == (3, 3)
    assert job.best is not None
    assert job.best.weights == {"one": 0.5, "two": 0.5}
    assert [point.index for point in job_store.iter_points(claim.job_id)] == [0, 1, 2]
    assert len(job_store.journalled(SCOPE)) == 3
    assert [point.score for point in writer.ranked()] == [0.8, 0.5, 0.3]
    assert [evaluation.weights for evaluation in writer.evaluations()] == [(0.0, 1.0), (0.5, 0.5), (1.0, 0.0)]


def test_a_finer_search_takes_over_what_is_known(job_store: JobStore, claim: Claim, settings: Settings) -> None:
    first = recorder(job_store, claim, settings)
    first.start(SCOPE)
    first.take([score(0.5, 8), score(1.0, 2)])
    finer = recorder(job_store, claim, settings, step=0.25)
    assert finer.start(SCOPE) == 2
    assert sorted(finer.points) == [2, 4]
    assert finer.points[2].weights == [0.5, 0.5]


def test_a_superseded_attempt_cannot_write(job_store: JobStore, claim: Claim, settings: Settings) -> None:
    writer = recorder(job_store, claim, settings)
    writer.start(SCOPE)
    job_store.fail_attempt(claim.job_id, claim.attempt, "silent")
    with pytest.raises(FencedOut):
        writer.take([score(0.5, 8)])


def test_the_watch_sees_a_cancellation(job_store: JobStore, claim: Claim, settings: Settings) -> None:
    watch = CancelWatch(claim, settings)
    called = threading.Event()
    watch.on_cancel(called.set)
    job_store.cancel(claim.job_id)
    assert watch.cancelled.wait(10)
    assert called.wait(10)
    assert not watch.lost.is_set()
    late = threading.Event()
    watch.on_cancel(late.set)
    assert late.is_set()


def test_the_watch_sees_that_the_job_was_given_to_another(
    job_store: JobStore, claim: Claim, settings: Settings
) -> None:
    watch = CancelWatch(claim, settings)
    job_store.fail_attempt(claim.job_id, claim.attempt, "silent")
    assert watch.lost.wait(10)
    assert watch.cancelled.wait(10)
