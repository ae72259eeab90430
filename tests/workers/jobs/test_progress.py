"""What an attempt writes while it runs, to a real Redis."""

import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from redis.typing import EncodableT, FieldT

from search.evaluation import EvaluationRequest, Outcome, Passes, Refinement, SetOutcome, Weights, weights_key
from search.journal import packed
from search.strategy import generation
from service.errors import FencedOut
from service.jobs.queue import Claim
from service.jobs.store import JobStore, NewJob
from service.schemas.job import RequestEcho
from service.schemas.request import AdaptRequest
from service.settings import Settings
from workers.jobs.progress import CancelWatch, Recorder
from workers.jobs.scoring import Scoring

NAMES = ["one", "two"]
SET = "5" * 64
SCOPE = "scope"


@pytest.fixture
def claim(job_store: JobStore) -> Claim:
    echo = RequestEcho(
        request=AdaptRequest(pantry="tiny", preset="paper"),
        pantry_digest="0" * 64,
        adaptation_sets=[SET],
        ingredients=NAMES,
    )
    job_store.submit(NewJob(echo), idempotency_key=None, body_digest="")
    claim = job_store.claim("tests")
    assert claim is not None
    return claim


SOUPS = ((0.0, 1.0), (0.5, 0.5), (1.0, 0.0))


def recorder(store: JobStore, claim: Claim, soups: Sequence[Weights] = SOUPS, scope: str = SCOPE) -> Recorder:
    recorder = Recorder(store, claim, Scoring(AdaptRequest(pantry="tiny", preset="paper"), [SET]), NAMES)
    recorder.start(len(soups), scope)
    recorder.proposed(generation(soups))
    return recorder


def outcome(correct: int) -> Outcome:
    likelihood = np.full(10, -0.5, dtype=np.float32)
    found = SetOutcome(10, np.zeros(10, dtype=np.int32), np.arange(10) < correct, likelihood)
    return Outcome("complete", (found,), Passes(10), seconds=0.1)


def keys(soups: Sequence[Weights]) -> list[str]:
    return [weights_key(soup) for soup in soups]


def test_points_are_in_the_job_and_outcomes_in_the_journal(job_store: JobStore, claim: Claim) -> None:
    writer = recorder(job_store, claim)
    writer.found([(2, outcome(3)), (1, outcome(8))], known=False)
    writer.found([(0, outcome(5))], known=False)
    job = job_store.get(claim.job_id)
    assert (job.progress.done, job.progress.total, job.progress.images) == (3, 3, 30)
    assert job.best is not None
    assert job.best.weights == {"one": 0.5, "two": 0.5}
    assert [point.index for point in job_store.iter_points(claim.job_id)] == [0, 1, 2]
    assert job_store.journalled(SCOPE, keys(SOUPS)) == [packed(outcome(right)) for right in (5, 8, 3)]
    assert [point.score for point in writer.ranked()] == [0.8, 0.5, 0.3]


def test_the_speed_is_that_since_the_first_outcomes_came(job_store: JobStore, claim: Claim) -> None:
    """Before them evaluators may have had to start; what was known already took no time."""
    times = iter([100.0, 102.0, 105.0])
    scoring = Scoring(AdaptRequest(pantry="tiny", preset="paper"), [SET])
    writer = Recorder(job_store, claim, scoring, NAMES, clock=lambda: next(times))
    writer.start(4, SCOPE)
    writer.proposed(generation([*SOUPS, (0.2, 0.8)]))
    writer.found([(3, outcome(1))], known=True)
    writer.found([(2, outcome(3))], known=False)
    assert writer.speed is None
    writer.found([(1, outcome(8))], known=False)
    writer.found([(0, outcome(5))], known=False)
    assert writer.speed == (10 + 10) / 5


def test_a_finer_search_takes_over_what_is_known(job_store: JobStore, claim: Claim) -> None:
    recorder(job_store, claim).found([(1, outcome(8)), (2, outcome(2))], known=False)
    finer = tuple((step / 4, 1 - step / 4) for step in range(5))
    writer = recorder(job_store, claim, finer)
    found = writer.find(generation(finer))
    assert [place for place, each in enumerate(found) if each is not None] == [2, 4]
    writer.found([(place, each) for place, each in enumerate(found) if each is not None], known=True)
    assert writer.reused == 2
    assert writer.points[2].weights == [0.5, 0.5]
    assert job_store.get(claim.job_id).progress.images == 20


def test_an_outcome_with_logits_serves_a_request_without_them_and_not_the_reverse(
    job_store: JobStore, claim: Claim
) -> None:
    with_logits = EvaluationRequest(SOUPS[0], keep_logits=True)
    whole = outcome(5)
    (found,) = whole.sets
    full = replace(whole, sets=(replace(found, logits=np.zeros((10, 4), dtype=np.float32)),))
    writer = Recorder(job_store, claim, Scoring(AdaptRequest(pantry="tiny"), [SET]), NAMES)
    writer.start(2, SCOPE)
    writer.proposed((with_logits, EvaluationRequest(SOUPS[1])))
    writer.found([(0, full), (1, outcome(7))], known=False)
    asked = [EvaluationRequest(SOUPS[0]), with_logits, EvaluationRequest(SOUPS[1], keep_logits=True)]
    known = recorder(job_store, claim).find(asked)
    assert [each and packed(each) for each in known] == [packed(whole), packed(full), None]


def test_a_refined_outcome_is_found_by_its_refinement_alone(job_store: JobStore, claim: Claim) -> None:
    refined = [
        EvaluationRequest(SOUPS[0], refinement=each) for each in (Refinement("adapted"), Refinement(head="refit"))
    ]
    for place, request in enumerate(refined):
        writer = Recorder(job_store, claim, Scoring(AdaptRequest(pantry="tiny"), [SET]), NAMES)
        writer.start(1, SCOPE)
        writer.proposed((request,))
        writer.found([(0, outcome(place + 3))], known=False)
    found = recorder(job_store, claim).find([EvaluationRequest(SOUPS[0]), *refined])
    assert [each and packed(each) for each in found] == [None, packed(outcome(3)), packed(outcome(4))]


def test_a_refined_baseline_is_offered_for_its_refinement_alone(job_store: JobStore, claim: Claim) -> None:
    writer = recorder(job_store, claim)
    request = EvaluationRequest(SOUPS[0], refinement=Refinement("adapted"))
    writer.offer({request: outcome(3)})
    found = writer.find([EvaluationRequest(SOUPS[0]), request])
    assert [each is not None for each in found] == [False, True]


def test_refined_soups_are_not_taken_for_soups(job_store: JobStore, claim: Claim) -> None:
    writer = recorder(job_store, claim)
    writer.found([(0, outcome(3))], known=False)
    request = EvaluationRequest(SOUPS[0], refinement=Refinement(temperature=True))
    assert [each is not None for each in writer.find([EvaluationRequest(SOUPS[0]), request])] == [True, False]


def test_an_outcome_that_cannot_be_read_is_evaluated_again(job_store: JobStore, claim: Claim) -> None:
    job_store.redis.hset(job_store.keys.journal(SCOPE), weights_key(SOUPS[1]), "of another version")
    assert recorder(job_store, claim).find(generation(SOUPS)) == [None, None, None]


def test_a_search_keeps_no_more_outcomes_than_the_journal_may_hold(job_store: JobStore, claim: Claim) -> None:
    job_store.settings.journal_bytes = 2 * len(packed(outcome(5)))
    writer = recorder(job_store, claim)
    writer.found([(place, outcome(5)) for place in range(3)], known=False)
    assert [text is None for text in job_store.journalled(SCOPE, keys(SOUPS))] == [False, False, True]
    progress = job_store.get(claim.job_id).progress
    assert (progress.done, progress.images) == (3, 30)


def test_pruned_points_are_told_and_not_kept_for_others(job_store: JobStore, claim: Claim) -> None:
    writer = recorder(job_store, claim)
    pruned = replace(outcome(8), status="pruned")
    writer.found([(0, pruned), (1, outcome(8))], known=False)
    assert job_store.journalled(SCOPE, keys(SOUPS))[0] is None
    assert job_store.get(claim.job_id).progress.pruned == 1


def test_a_superseded_attempt_cannot_write(job_store: JobStore, claim: Claim) -> None:
    writer = recorder(job_store, claim)
    job_store.fail_attempt(claim.job_id, claim.attempt, "silent")
    with pytest.raises(FencedOut):
        writer.found([(1, outcome(8))], known=False)


def test_a_job_ranks_soups_of_one_scope(job_store: JobStore, claim: Claim) -> None:
    """Its first attempt ran on other hardware, say: the next one shows and ranks its own outcomes."""
    recorder(job_store, claim).found([(0, outcome(9)), (1, outcome(2))], known=False)
    job_store.fail_attempt(claim.job_id, claim.attempt, "lost")
    again = job_store.claim("tests")
    assert again is not None
    writer = recorder(job_store, again, scope="other")
    assert job_store.get(claim.job_id).progress.done == 0
    writer.found([(0, outcome(3)), (1, outcome(7))], known=False)
    job = job_store.get(claim.job_id)
    assert [point.score for point in job_store.iter_points(claim.job_id)] == [0.3, 0.7]
    assert (job.progress.done, job.progress.images) == (2, 20)
    assert job.best is not None
    assert job.best.score == writer.ranked()[0].score == 0.7


def test_a_large_journal_is_read_without_holding_up_others(job_store: JobStore, claim: Claim) -> None:
    soups = tuple((step / 20_000, 1 - step / 20_000) for step in range(20_000))
    text = packed(outcome(5))
    for first in range(0, len(soups), 5000):
        some: dict[FieldT, EncodableT] = dict.fromkeys(keys(soups[first : first + 5000]), text)
        job_store.redis.hset(job_store.keys.journal(SCOPE), mapping=some)
    writer = recorder(job_store, claim, soups)
    job_store.redis.config_resetstat()
    job_store.redis.config_set("slowlog-log-slower-than", 250_000)
    job_store.redis.slowlog_reset()
    found = writer.find(generation(soups))
    writer.found([(place, each) for place, each in enumerate(found) if each is not None], known=True)
    assert job_store.redis.slowlog_get() == []
    assert job_store.get(claim.job_id).progress.done == len(soups)


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
