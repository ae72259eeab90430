from concurrent.futures import ThreadPoolExecutor

import pytest

from service.connection import connect
from service.errors import FencedOut, InUse, JobNotFinished, JobNotFound, QuotaExceeded
from service.jobs.queue import Claim, FailedAttempt
from service.jobs.store import JobStore
from service.schemas.job import JobError, JobStatus
from service.schemas.result import Result
from service.settings import Settings
from tests.service.jobs.samples import SCOPE, SET, error, lose_lease, point, result, submit
from tests.waiting import wait_until


def take(store: JobStore) -> Claim:
    claim = store.claim("worker")
    assert claim is not None
    return claim


def test_jobs_are_claimed_in_order_once_each(job_store: JobStore) -> None:
    ids = [submit(job_store) for _ in range(3)]

    assert [take(job_store) for _ in ids] == [Claim(job_id, 1) for job_id in ids]
    assert job_store.claim("worker") is None
    assert job_store.claim("worker", block_ms=20) is None


def test_a_claimed_job_runs(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    job = job_store.get(claim.job_id)

    assert job.status is JobStatus.RUNNING
    assert job.started_at is not None
    assert job.attempt == 1
    assert job.queue_position is None


def take_submitted(store: JobStore) -> Claim:
    submit(store)
    return take(store)


def test_many_supervisors_claim_each_job_once(job_store: JobStore, settings: Settings) -> None:
    ids = [submit(job_store) for _ in range(40)]

    def claim_all(supervisor: int) -> list[str]:
        with connect(settings) as client:
            store, claimed = JobStore(client, settings), []
            while claim := store.claim(f"worker-{supervisor}"):
                claimed.append(claim.job_id)
            return claimed

    with ThreadPoolExecutor(6) as pool:
        claimed = [job_id for batch in pool.map(claim_all, range(6)) for job_id in batch]
    assert sorted(claimed) == sorted(ids)


def test_a_waiting_supervisor_gets_the_next_job_at_once(job_store: JobStore, settings: Settings) -> None:
    with connect(settings) as client, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(JobStore(client, settings).claim, "waiting", 10_000)
        wait_until(lambda: job_store.redis.info("clients")["blocked_clients"] > 0)
        job_id = submit(job_store)
        assert waiting.result(timeout=5) == Claim(job_id, 1)


def test_a_claim_whose_answer_was_lost_is_answered_again(job_store: JobStore) -> None:
    submit(job_store)
    submit(job_store)
    answers = [job_store._try_claim("worker", "token")[0] for _ in range(2)]

    assert answers[0] == answers[1]
    assert job_store.queue_depth() == 1


def test_the_job_of_a_silent_supervisor_goes_to_another(job_store: JobStore) -> None:
    first = take_submitted(job_store)
    submit(job_store)
    lose_lease(job_store, first.job_id)

    assert take(job_store) == Claim(first.job_id, 2)
    assert job_store.renew(first.job_id, 1) is False
    assert job_store.renew(first.job_id, 2) is True


def test_a_late_supervisor_keeps_a_job_that_nobody_took(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    lose_lease(job_store, claim.job_id)

    assert job_store.renew(claim.job_id, claim.attempt) is True
    assert job_store.claim("other") is None


def test_renewing_prolongs_the_lease(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    before = job_store.redis.zscore(job_store.keys.leases, claim.job_id)
    assert job_store.renew(claim.job_id, claim.attempt, lease_s=1000)
    after = job_store.redis.zscore(job_store.keys.leases, claim.job_id)

    assert before is not None
    assert after is not None
    assert after > before + 900_000


def test_a_superseded_attempt_can_write_nothing(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    job_store.start(claim.job_id, 1, 5, SCOPE)
    lose_lease(job_store, claim.job_id)
    take(job_store)
    before = job_store.get(claim.job_id)

    writes = (
        lambda: job_store.start(claim.job_id, 1, 9, "other"),
        lambda: job_store.record_points(claim.job_id, 1, [point(1)]),
        lambda: job_store.set_phase(claim.job_id, 1, "finalizing"),
        lambda: job_store.should_cancel(claim.job_id, 1),
        lambda: job_store.fail_attempt(claim.job_id, 1, "late"),
        lambda: job_store.release(claim.job_id, 1),
        lambda: job_store.finish(claim.job_id, 1, JobStatus.SUCCEEDED, result()),
    )
    for write in writes:
        with pytest.raises(FencedOut):
            write()
    assert job_store.get(claim.job_id) == before
    assert not job_store.redis.exists(job_store.keys.journal(SCOPE))


def test_writes_to_an_unknown_job_are_not_found(job_store: JobStore) -> None:
    with pytest.raises(JobNotFound):
        job_store.start("unknown", 1, 5, SCOPE)
    with pytest.raises(JobNotFound):
        job_store.should_cancel("unknown", 1)
    assert job_store.renew("unknown", 1) is False


def test_a_failed_job_is_tried_again_before_new_ones(job_store: JobStore) -> None:
    first = take_submitted(job_store)
    second = submit(job_store)

    assert job_store.fail_attempt(first.job_id, 1, "the child ended with -9", lost=True) == FailedAttempt(
        retried=True, count=1
    )

    assert job_store.get(first.job_id).status is JobStatus.QUEUED
    assert [job_store.get(job_id).queue_position for job_id in (first.job_id, second)] == [0, 1]
    assert take(job_store) == Claim(first.job_id, 2)
    assert take(job_store) == Claim(second, 1)


def test_after_the_last_attempt_the_job_has_failed_and_says_why_each_time(job_store: JobStore) -> None:
    job_id = submit(job_store)
    for count in (1, 2):
        failure = job_store.fail_attempt(job_id, take(job_store).attempt, "a bug")
        assert failure == FailedAttempt(retried=True, count=count)
    take(job_store)
    lose_lease(job_store, job_id)
    assert job_store.fail_attempt(job_id, take(job_store).attempt, "a bug") == FailedAttempt(retried=False, count=3)

    job = job_store.get(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "attempts_exhausted"
    assert job.error.attempts == [
        "attempt 1: a bug",
        "attempt 2: a bug",
        "attempt 3: supervisor worker fell silent",
        "attempt 4: a bug",
    ]
    assert job.expires_at is not None
    assert job_store.claim("worker") is None


@pytest.mark.parametrize("lost", [False, True])
def test_a_failure_repeated_after_a_lost_answer_counts_once(job_store: JobStore, lost: bool) -> None:
    claim = take_submitted(job_store)
    for _ in range(5):
        assert job_store.fail_attempt(claim.job_id, 1, "killed", lost=lost) == FailedAttempt(retried=True, count=1)
    assert take(job_store).attempt == 2


def test_attempts_that_are_lost_use_up_none_of_the_jobs_own(job_store: JobStore) -> None:
    job_id = submit(job_store)
    for index in range(2 * job_store.settings.max_losses):
        attempt = take(job_store).attempt
        job_store.start(job_id, attempt, 50, SCOPE)
        job_store.record_points(job_id, attempt, [point(index)], outcomes={index: "packed"})
        if index % 2:
            lose_lease(job_store, job_id)
        else:
            assert job_store.fail_attempt(job_id, attempt, "killed", lost=True) == FailedAttempt(retried=True, count=0)
    for _ in range(job_store.settings.max_attempts - 1):
        assert job_store.fail_attempt(job_id, take(job_store).attempt, "a bug").retried
    assert job_store.get(job_id).status is JobStatus.QUEUED


def test_a_job_that_is_lost_again_and_again_without_a_new_point_ends(job_store: JobStore) -> None:
    job_store.settings.max_losses = 4
    job_id = submit(job_store)

    def lose(recorded: int) -> None:
        attempt = take(job_store).attempt
        job_store.start(job_id, attempt, 50, SCOPE)
        job_store.record_points(
            job_id,
            attempt,
            [point(index) for index in range(recorded)],
            outcomes=dict.fromkeys(range(recorded), "packed"),
        )
        job_store.fail_attempt(job_id, attempt, "the job's process was ended by SIGKILL", lost=True)

    for recorded in (0, 0, 0, 1, 1, 0, 1):  # what an attempt records again is no new point
        lose(recorded)
        assert job_store.get(job_id).status is JobStatus.QUEUED
    take(job_store)
    lose_lease(job_store, job_id)
    assert job_store.claim("worker") is None

    job = job_store.get(job_id)
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "attempts_exhausted"
    assert job.error.message.startswith("4 attempts in a row were lost before they evaluated anything; the last: ")
    assert job.error.retryable


def test_a_released_job_is_claimed_again_without_blame(job_store: JobStore) -> None:
    job_store.settings.max_attempts = 1
    claim = take_submitted(job_store)
    for _ in range(2):
        job_store.release(claim.job_id, 1)

    with pytest.raises(FencedOut):
        job_store.set_phase(claim.job_id, 1, "finalizing")
    assert take(job_store) == Claim(claim.job_id, 2)


def test_a_waiting_job_is_cancelled_at_once_and_never_claimed(job_store: JobStore) -> None:
    job_id = submit(job_store)
    job = job_store.cancel(job_id)

    assert job.status is JobStatus.CANCELLED
    assert job.is_terminal
    assert job_store.claim("worker") is None
    assert job_store.cancel(job_id) == job


def test_a_running_job_is_asked_and_then_keeps_its_best(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    assert job_store.should_cancel(claim.job_id, 1) is False

    assert job_store.cancel(claim.job_id).status is JobStatus.CANCELLING
    assert job_store.should_cancel(claim.job_id, 1) is True
    job_store.set_phase(claim.job_id, 1, "finalizing")
    assert job_store.get(claim.job_id).status is JobStatus.CANCELLING
    job_store.finish(claim.job_id, 1, JobStatus.CANCELLED, result(partial=True))

    job = job_store.get(claim.job_id)
    assert job.status is JobStatus.CANCELLED
    assert job.result == result(partial=True)


def test_cancelling_outlives_its_supervisor(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    job_store.cancel(claim.job_id)
    lose_lease(job_store, claim.job_id)

    assert take(job_store) == Claim(claim.job_id, 2)
    assert job_store.should_cancel(claim.job_id, 2) is True
    for attempt in (2, 3):
        assert job_store.fail_attempt(claim.job_id, attempt, "a bug").retried
        take(job_store)
    assert not job_store.fail_attempt(claim.job_id, 4, "a bug").retried
    assert job_store.get(claim.job_id).status is JobStatus.CANCELLED


def test_pausing_frees_the_supervisor_and_keeps_what_was_found(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    job_store.start(claim.job_id, 1, 5, SCOPE)
    seconds, microseconds = job_store.redis.time()
    wait_until(lambda: job_store.redis.time() > (seconds, microseconds + 2000))
    job_store.record_points(claim.job_id, 1, [point(0), point(1)])
    other = submit(job_store)

    paused = job_store.pause(claim.job_id)
    assert paused == job_store.pause(claim.job_id)
    assert (paused.status, paused.is_terminal, paused.queue_position) == (JobStatus.PAUSED, False, None)
    assert paused.progress.done == 2
    assert not job_store.renew(claim.job_id, 1)
    with pytest.raises(FencedOut):
        job_store.record_points(claim.job_id, 1, [point(2)])
    with pytest.raises(FencedOut):
        job_store.fail_attempt(claim.job_id, 1, "killed", lost=True)
    assert take(job_store).job_id == other
    assert job_store.claim("worker") is None

    last = submit(job_store)
    assert job_store.resume(claim.job_id).status is JobStatus.QUEUED
    assert job_store.resume(claim.job_id).queue_position == 1
    assert [take(job_store), take(job_store)] == [Claim(last, 1), Claim(claim.job_id, 2)]
    assert job_store.start(claim.job_id, 2, 5, SCOPE) > 0
    assert job_store.record_points(claim.job_id, 2, [point(1), point(2)]) == 1


def test_a_waiting_job_is_paused_and_never_claimed_until_it_is_resumed(job_store: JobStore) -> None:
    job_id = submit(job_store)
    job_store.pause(job_id)
    assert job_store.claim("worker") is None
    assert job_store.queue_depth() == 0
    assert job_store.resume(job_id).queue_position == 0
    assert take(job_store) == Claim(job_id, 1)
    assert job_store.resume(job_id).status is JobStatus.RUNNING


def test_a_paused_job_is_cancelled_at_once_or_gets_its_best_soup(job_store: JobStore) -> None:
    bare = submit(job_store)
    job_store.pause(bare)
    assert job_store.cancel(bare).status is JobStatus.CANCELLED

    claim = take_submitted(job_store)
    job_store.start(claim.job_id, 1, 5, SCOPE)
    job_store.record_points(claim.job_id, 1, [point(0)])
    job_store.pause(claim.job_id)
    assert job_store.cancel(claim.job_id).status is JobStatus.CANCELLING
    assert job_store.pause(claim.job_id).status is JobStatus.CANCELLING
    assert job_store.resume(claim.job_id).status is JobStatus.CANCELLING
    assert take(job_store) == Claim(claim.job_id, 2)
    assert job_store.should_cancel(claim.job_id, 2)
    job_store.finish(claim.job_id, 2, JobStatus.CANCELLED, result(partial=True))
    assert job_store.pause(claim.job_id).status is JobStatus.CANCELLED


def test_paused_jobs_count_as_waiting_and_keep_their_pantry_and_sets(job_store: JobStore, settings: Settings) -> None:
    store = JobStore(job_store.redis, settings.model_copy(update={"max_queued_jobs": 2}))
    first = submit(store)
    store.pause(first)
    submit(store)
    with pytest.raises(QuotaExceeded, match="2 jobs wait or are paused"):
        submit(store)
    assert store.resume(first).status is JobStatus.QUEUED
    store.pause(first)
    with pytest.raises(InUse), store.deletion("sets", SET):
        pytest.fail("the set went away")
    with pytest.raises(JobNotFinished, match="is paused: cancel it"):
        store.delete(first)
    assert store.counts()[JobStatus.PAUSED] == 1
    assert store.get(first).expires_at is None


def test_a_job_that_does_not_exist_is_neither_paused_nor_resumed(job_store: JobStore) -> None:
    for call in (job_store.pause, job_store.resume):
        with pytest.raises(JobNotFound):
            call("unknown")


def test_a_job_ends_once(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    job_store.set_phase(claim.job_id, 1, "finalizing")
    assert job_store.get(claim.job_id).status is JobStatus.FINALIZING
    for _ in range(2):
        job_store.finish(claim.job_id, 1, JobStatus.FAILED, error())
    before = job_store.get(claim.job_id)

    with pytest.raises(FencedOut):
        job_store.finish(claim.job_id, 1, JobStatus.SUCCEEDED, result())
    assert job_store.cancel(claim.job_id) == before
    assert before.status is JobStatus.FAILED
    assert before.error == error()


@pytest.mark.parametrize(
    ("status", "outcome"),
    [
        (JobStatus.SUCCEEDED, None),
        (JobStatus.SUCCEEDED, error()),
        (JobStatus.FAILED, result()),
        (JobStatus.RUNNING, None),
    ],
)
def test_an_end_needs_its_outcome(job_store: JobStore, status: JobStatus, outcome: Result | JobError | None) -> None:
    claim = take_submitted(job_store)
    with pytest.raises(ValueError, match="cannot end"):
        job_store.finish(claim.job_id, 1, status, outcome)
    assert job_store.get(claim.job_id).status is JobStatus.RUNNING


def test_a_failure_reported_again_as_a_loss_is_answered(job_store: JobStore) -> None:
    claim = take_submitted(job_store)
    assert job_store.fail_attempt(claim.job_id, 1, "a bug").count == 1
    assert job_store.fail_attempt(claim.job_id, 1, "killed", lost=True) == FailedAttempt(retried=True, count=0)
