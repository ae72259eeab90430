import pytest

from service.artifacts.store import Kind
from service.errors import (
    DeletedMeanwhile,
    Expired,
    IdempotencyConflict,
    InUse,
    JobNotFinished,
    JobNotFound,
    QuotaExceeded,
)
from service.jobs import store
from service.jobs.store import Accepted, JobStore, NewJob
from service.schemas.job import JobStatus
from tests.service.jobs.samples import MODEL, PANTRY_DIGEST, SCOPE, SET, best, point, request_echo, result, submit
from tests.waiting import wait_until

REFERENCES: list[tuple[Kind, str]] = [("sets", SET), ("pantries", PANTRY_DIGEST)]


def expire(job_store: JobStore, job_id: str) -> None:
    job_store.redis.zadd(job_store.keys.expiries, {job_id: 1})


def submit_at(job_store: JobStore, looked_up: int) -> str:
    job = NewJob(request_echo(), looked_up)
    return job_store.submit(job, idempotency_key=None, body_digest="body").job_id


def succeed(job_store: JobStore, model: str = MODEL) -> str:
    submit(job_store)
    claim = job_store.claim("worker")
    assert claim is not None
    job_store.start(claim.job_id, claim.attempt, 2, SCOPE)
    job_store.record_points(claim.job_id, claim.attempt, [point(0), point(1)], best())
    job_store.finish(claim.job_id, claim.attempt, JobStatus.SUCCEEDED, result(model=model))
    return claim.job_id


def test_an_accepted_job_waits_with_all_it_was_asked(job_store: JobStore) -> None:
    job = job_store.get(submit(job_store))

    assert job.status is JobStatus.QUEUED
    assert not job.is_terminal
    assert job.queue_position == 0
    assert job.attempt == 0
    assert job.request == request_echo()
    assert job.created_at.tzinfo is not None
    assert job.urls.model == f"/jobs/{job.id}/model"


def test_the_same_key_and_body_is_the_same_job(job_store: JobStore) -> None:
    first = job_store.submit(NewJob(request_echo()), idempotency_key="key", body_digest="body")
    again = job_store.submit(NewJob(request_echo()), idempotency_key="key", body_digest="body")

    assert first.created
    assert not again.created
    assert again.job_id == first.job_id
    assert job_store.queue_depth() == 1


def test_a_key_tells_its_job_until_the_job_is_deleted(job_store: JobStore) -> None:
    job_id = submit(job_store, key="key", digest="body")

    assert job_store.by_key("key") == Accepted(job_id, "body")
    assert job_store.by_key("other key") is None
    job_store.cancel(job_id)
    job_store.delete(job_id)
    assert job_store.by_key("key") is None


def test_the_same_key_with_another_body_is_a_conflict(job_store: JobStore) -> None:
    submit(job_store, key="key", digest="body")

    with pytest.raises(IdempotencyConflict):
        submit(job_store, key="key", digest="other body")
    assert job_store.queue_depth() == 1


def test_without_a_key_each_request_is_a_job(job_store: JobStore) -> None:
    assert submit(job_store) != submit(job_store)


def test_a_submission_repeated_after_a_lost_answer_is_one_job(job_store: JobStore) -> None:
    job = NewJob(request_echo())
    answers = [job_store.submit(job, idempotency_key=None, body_digest="body") for _ in range(2)]

    assert answers[0] == answers[1]
    assert job_store.queue_depth() == 1


def test_a_full_queue_refuses_jobs_but_knows_those_it_has(job_store: JobStore) -> None:
    job_store.settings.max_queued_jobs = 2
    known = submit(job_store, key="key")
    submit(job_store)

    with pytest.raises(QuotaExceeded):
        submit(job_store)
    assert submit(job_store, key="key") == known
    job_store.claim("worker")
    assert job_store.get(submit(job_store)).status is JobStatus.QUEUED


def test_positions_follow_the_queue(job_store: JobStore) -> None:
    ids = [submit(job_store) for _ in range(3)]

    job_store.cancel(ids[0])

    assert [job_store.get(job_id).queue_position for job_id in ids] == [None, 0, 1]


def test_pages_list_each_job_once_newest_first(job_store: JobStore) -> None:
    ids = {submit(job_store) for _ in range(7)}
    seen, after = [], None
    while True:
        page = job_store.list(3, after)
        seen += page.items
        if page.next is None:
            break
        after = page.next

    assert {job.id for job in seen} == ids
    assert len(seen) == len(ids)
    assert [job.created_at for job in seen] == sorted((job.created_at for job in seen), reverse=True)


def test_pages_of_one_status(job_store: JobStore) -> None:
    ids = [submit(job_store) for _ in range(4)]
    job_store.cancel(ids[1])
    job_store.cancel(ids[2])

    page = job_store.list(1, status=JobStatus.CANCELLED)
    rest = job_store.list(5, page.next, JobStatus.CANCELLED)

    assert {job.id for job in page.items + rest.items} == set(ids[1:3])
    assert job_store.counts()[JobStatus.CANCELLED] == 2
    assert job_store.counts()[JobStatus.QUEUED] == 2


def delete(job_store: JobStore, kind: Kind, digest: str) -> None:
    with job_store.deletion(kind, digest):
        pass


def test_what_an_unended_job_needs_cannot_be_deleted(job_store: JobStore) -> None:
    job_id = submit(job_store)

    for status in (JobStatus.QUEUED, JobStatus.RUNNING, JobStatus.FINALIZING, JobStatus.CANCELLING):
        if status is JobStatus.RUNNING:
            assert job_store.claim("worker") is not None
        if status is JobStatus.FINALIZING:
            job_store.set_phase(job_id, 1, "finalizing")
        if status is JobStatus.CANCELLING:
            job_store.cancel(job_id)
        assert job_store.get(job_id).status is status
        for kind, digest in REFERENCES:
            with pytest.raises(InUse):
                delete(job_store, kind, digest)
        delete(job_store, "sets", "2" * 64)
    job_store.finish(job_id, 1, JobStatus.CANCELLED)
    for kind, digest in REFERENCES:
        delete(job_store, kind, digest)


@pytest.mark.parametrize(("kind", "digest"), REFERENCES)
def test_a_job_whose_artifacts_were_deleted_since_they_were_looked_up_is_refused(
    job_store: JobStore, kind: Kind, digest: str
) -> None:
    before = job_store.now()
    with job_store.deletion(kind, digest), pytest.raises(DeletedMeanwhile):
        submit_at(job_store, job_store.now())
    with pytest.raises(DeletedMeanwhile):
        submit_at(job_store, before)
    assert job_store.in_use() == {"sets": set(), "pantries": set(), "models": set()}
    assert job_store.list().items == []

    ended = job_store.now()
    later = wait_until(lambda: (now := job_store.now()) > ended and now)
    submit_at(job_store, later)
    with pytest.raises(InUse):
        delete(job_store, kind, digest)


def test_a_failed_deletion_is_over_too(job_store: JobStore) -> None:
    def fail() -> None:
        with job_store.deletion("sets", SET):
            raise FileNotFoundError

    with pytest.raises(FileNotFoundError):
        fail()
    ended = job_store.now()
    submit_at(job_store, wait_until(lambda: (now := job_store.now()) > ended and now))


def test_jobs_refer_to_sets_and_pantries_until_they_are_removed(job_store: JobStore) -> None:
    first, second = submit(job_store), submit(job_store, set_id="1" * 64)
    both = {"sets": {SET, "1" * 64}, "pantries": {PANTRY_DIGEST}, "models": set()}
    assert job_store.in_use() == both

    for job_id in (first, second):
        job_store.cancel(job_id)
    assert job_store.in_use() == both
    job_store.delete(first)
    assert job_store.in_use() == both | {"sets": {"1" * 64}}
    expire(job_store, second)
    job_store.sweep()
    assert job_store.in_use() == {"sets": set(), "pantries": set(), "models": set()}


def test_a_submission_repeated_after_a_lost_answer_refers_once(job_store: JobStore) -> None:
    job = NewJob(request_echo())
    for _ in range(2):
        job_store.submit(job, idempotency_key=None, body_digest="body")
    job_store.cancel(job.id)
    job_store.delete(job.id)

    assert job_store.in_use() == {"sets": set(), "pantries": set(), "models": set()}


def test_unknown_jobs_are_not_found(job_store: JobStore) -> None:
    for call in (job_store.get, job_store.cancel, job_store.delete, job_store.points):
        with pytest.raises(JobNotFound):
            call("unknown")


def test_only_ended_jobs_are_deleted_and_then_wholly(job_store: JobStore) -> None:
    waiting = submit(job_store, key="key")
    with pytest.raises(JobNotFinished):
        job_store.delete(waiting)
    job_store.cancel(waiting)
    job_store.delete(waiting)

    ended = succeed(job_store)
    job_store.delete(ended)

    for job_id in (waiting, ended):
        with pytest.raises(JobNotFound):
            job_store.get(job_id)
        assert job_store.redis.keys(f"{job_store.keys.job(job_id)}*") == []
    assert job_store.list().items == []
    assert submit(job_store, key="key") != waiting


def test_models_are_in_use_while_a_job_names_them(job_store: JobStore) -> None:
    first, second = succeed(job_store), succeed(job_store)
    assert job_store.in_use()["models"] == {MODEL}

    job_store.delete(first)
    assert job_store.in_use()["models"] == {MODEL}
    job_store.delete(second)
    assert job_store.in_use()["models"] == set()


def test_ended_jobs_expire_and_are_remembered_for_a_while(job_store: JobStore) -> None:
    kept, expired = succeed(job_store), succeed(job_store)
    job = job_store.get(expired)
    assert job.finished_at is not None
    assert job.expires_at is not None
    assert (job.expires_at - job.finished_at).total_seconds() == job_store.settings.job_ttl
    expire(job_store, expired)

    assert job_store.sweep() == (expired,)

    for call in (job_store.get, job_store.points, job_store.cancel, job_store.delete):
        with pytest.raises(Expired):
            call(expired)
    assert not job_store.renew(expired, 1)
    assert [each.id for each in job_store.list().items] == [kept]
    assert 0 < job_store.redis.ttl(job_store.keys.expired(expired)) <= job_store.settings.job_ttl


def test_a_sweep_of_several_batches_leaves_none(job_store: JobStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "SWEEP_BATCH", 3)
    ids = [submit(job_store) for _ in range(7)]
    for job_id in ids:
        job_store.cancel(job_id)
        expire(job_store, job_id)

    assert sorted(job_store.sweep()) == sorted(ids)
    assert job_store.sweep() == ()
