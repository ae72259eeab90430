import pytest

from search.evaluation import weights_key
from service.jobs.documents import timestamp
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import JobStatus, JobWarning
from tests.service.jobs.samples import SCOPE, best, point, submit


@pytest.fixture
def claim(job_store: JobStore) -> Claim:
    return started(job_store)


def started(store: JobStore, total: int = 10) -> Claim:
    submit(store)
    claim = store.claim("worker")
    assert claim is not None
    store.start(claim.job_id, claim.attempt, total, SCOPE)
    return claim


def journalled(store: JobStore, *indexes: int) -> list[str | None]:
    return store.journalled(SCOPE, [weights_key(point(index).weights) for index in indexes])


def evaluated(*indexes: int) -> dict[int, str]:
    return dict.fromkeys(indexes, "packed")


def test_points_are_in_the_job_and_the_journal_by_their_weights(job_store: JobStore, claim: Claim) -> None:
    points = [point(2), point(0)]

    assert job_store.record_points(claim.job_id, 1, points, best(0.5), outcomes={2: "c", 0: "a"}) == 2

    job = job_store.get(claim.job_id)
    assert (job.progress.done, job.progress.pruned, job.progress.total, job.progress.images) == (2, 0, 10, 200)
    assert job.best == best(0.5)
    assert list(job_store.iter_points(claim.job_id)) == [point(0), point(2)]
    assert journalled(job_store, 0, 1, 2) == ["a", None, "c"]


def test_an_outcome_is_kept_under_the_name_of_its_request(job_store: JobStore, claim: Claim) -> None:
    name = f"{weights_key(point(0).weights)} adapted"
    job_store.record_points(claim.job_id, 1, [point(0), point(1)], outcomes={0: "a", 1: "b"}, names={0: name})
    assert journalled(job_store, 0, 1) == [None, "b"]
    assert job_store.journalled(SCOPE, [name]) == ["a"]
    assert list(job_store.iter_points(claim.job_id)) == [point(0), point(1)]


def test_a_point_recorded_again_changes_nothing(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(1)], best())
    before = job_store.get(claim.job_id)

    assert job_store.record_points(claim.job_id, 1, [point(1, score=0.9)], best()) == 0
    assert job_store.get(claim.job_id) == before
    assert list(job_store.iter_points(claim.job_id)) == [point(1)]


def test_points_of_the_journal_are_done_but_cost_nothing(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(0), point(1)], outcomes=evaluated(0, 1))
    other = started(job_store)

    assert job_store.record_points(other.job_id, 1, [point(0), point(1)]) == 2

    progress = job_store.get(other.job_id).progress
    assert (progress.done, progress.images, progress.rate) == (2, 0, None)


def test_the_next_attempt_continues_with_the_points_there_are(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(0), point(1)], best(), outcomes=evaluated(0, 1))
    job_store.fail_attempt(claim.job_id, 1, "killed")
    again = job_store.claim("worker")
    assert again == Claim(claim.job_id, 2)
    job_store.start(claim.job_id, 2, 10, SCOPE)

    assert job_store.record_points(claim.job_id, 2, [point(1), point(2)], outcomes=evaluated(1, 2)) == 1
    job = job_store.get(claim.job_id)
    assert (job.progress.done, job.progress.images) == (3, 300)
    assert job.best == best()


def test_the_next_attempt_is_told_for_how_long_the_job_was_searched(job_store: JobStore) -> None:
    """Until the last point or sign of life of an attempt; waiting for the next one is no searching."""
    submit(job_store)
    claim = job_store.claim("worker")
    assert claim is not None
    assert job_store.start(claim.job_id, 1, 10, SCOPE) == 0.0
    began = _clock(job_store, claim, "attempt_started_at")
    job_store.redis.hset(job_store.keys.job(claim.job_id), "attempt_started_at", began - 60_000)
    job_store.record_points(claim.job_id, 1, [point(0)], outcomes=evaluated(0))
    last = _clock(job_store, claim, "progress_at")
    job_store.fail_attempt(claim.job_id, 1, "killed", lost=True)

    assert job_store.claim("worker") == Claim(claim.job_id, 2)
    assert job_store.start(claim.job_id, 2, 10, SCOPE) == pytest.approx((last - began + 60_000) / 1000)
    job_store.redis.hset(job_store.keys.job(claim.job_id), "attempt_started_at", began - 30_000)
    assert job_store.renew(claim.job_id, 2)
    alive = _clock(job_store, claim, "searching_at")
    job_store.release(claim.job_id, 2)

    assert job_store.claim("worker") == Claim(claim.job_id, 3)
    both = (last - began + 60_000 + alive - began + 30_000) / 1000
    assert job_store.start(claim.job_id, 3, 10, SCOPE) == pytest.approx(both)
    job_store.release(claim.job_id, 3)

    assert job_store.claim("worker") == Claim(claim.job_id, 4)
    assert job_store.start(claim.job_id, 4, 10, "other hardware") == 0.0


def test_the_estimated_finish_is_no_later_than_the_limit_of_seconds(job_store: JobStore) -> None:
    submit(job_store)
    claim = job_store.claim("worker")
    assert claim is not None
    job_store.start(claim.job_id, 1, 1000, SCOPE, seconds=60)
    began = _clock(job_store, claim, "attempt_started_at")
    progress = job_store.get(claim.job_id).progress
    assert progress.rate is None
    assert progress.estimated_finish == timestamp(began + 60_000)
    job_store.redis.hset(job_store.keys.job(claim.job_id), "attempt_started_at", began - 10_000)
    job_store.record_points(claim.job_id, 1, [point(0)], outcomes=evaluated(0))
    assert job_store.get(claim.job_id).progress.estimated_finish == timestamp(began + 60_000)
    job_store.start(claim.job_id, 1, 2, SCOPE, seconds=1000)
    job_store.redis.hset(job_store.keys.job(claim.job_id), "attempt_started_at", began - 10_000)
    job_store.record_points(claim.job_id, 1, [point(1)], outcomes=evaluated(1))
    last = _clock(job_store, claim, "progress_at")
    assert job_store.get(claim.job_id).progress.estimated_finish == timestamp(last)


def test_neither_waiting_nor_making_the_result_is_searching(job_store: JobStore, claim: Claim) -> None:
    key = job_store.keys.job(claim.job_id)
    job_store.set_phase(claim.job_id, 1, "finalizing")
    assert job_store.renew(claim.job_id, 1)
    assert not job_store.redis.hexists(key, "searching_at")
    job_store.set_phase(claim.job_id, 1, "running")
    job_store.release(claim.job_id, 1)
    assert job_store.claim("worker") == Claim(claim.job_id, 2)
    searched = job_store.redis.hget(key, "searched")
    assert job_store.renew(claim.job_id, 2)
    assert not job_store.redis.hexists(key, "searching_at")
    assert job_store.start(claim.job_id, 2, 10, SCOPE) == float(searched or "nan") / 1000


def _clock(store: JobStore, claim: Claim, field: str) -> int:
    return int(store.redis.hget(store.keys.job(claim.job_id), field) or 0)


def test_pruned_points_are_done_but_no_score_for_others(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(0, pruned=True), point(1)], outcomes=evaluated(1))

    progress = job_store.get(claim.job_id).progress
    assert (progress.done, progress.pruned) == (2, 1)
    assert journalled(job_store, 0, 1) == [None, "packed"]
    assert len(list(job_store.iter_points(claim.job_id))) == 2


def test_the_journal_is_kept_for_its_time(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(0)], outcomes=evaluated(0))
    assert 0 < job_store.redis.ttl(job_store.keys.journal(SCOPE)) <= job_store.settings.journal_ttl


def test_points_wait_for_the_start(job_store: JobStore) -> None:
    submit(job_store)
    claim = job_store.claim("worker")
    assert claim is not None
    with pytest.raises(ValueError, match="start attempt 1"):
        job_store.record_points(claim.job_id, 1, [point(0)])


def test_pages_go_by_index(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(index) for index in (5, 1, 3, 0, 9)])

    first = job_store.points(claim.job_id, limit=2)
    second = job_store.points(claim.job_id, after=first.next, limit=2)
    third = job_store.points(claim.job_id, after=second.next, limit=2)

    assert [each.index for page in (first, second, third) for each in page.items] == [0, 1, 3, 5, 9]
    assert (first.next, second.next, third.next) == (1, 5, None)


def test_a_page_that_ends_with_the_last_point_is_the_last(job_store: JobStore, claim: Claim) -> None:
    assert job_store.points(claim.job_id).items == []
    job_store.record_points(claim.job_id, 1, [point(0), point(1)])

    assert job_store.points(claim.job_id, limit=2).next is None
    assert job_store.points(claim.job_id, after=1).items == []


def test_all_points_of_a_large_search_are_read(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(index) for index in range(2500)])
    assert [each.index for each in job_store.iter_points(claim.job_id)] == list(range(2500))


def test_rate_and_finish_come_from_this_attempt(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(0), point(1)], outcomes=evaluated(0, 1))
    fields = job_store.keys.job(claim.job_id)
    text = job_store.redis.hget(fields, "progress_at")
    assert text is not None
    recorded = int(text)
    job_store.redis.hset(fields, "attempt_started_at", recorded - 4000)

    progress = job_store.get(claim.job_id).progress
    assert progress.rate == pytest.approx(0.5)
    assert progress.estimated_finish is not None
    assert progress.estimated_finish.timestamp() * 1000 == pytest.approx(recorded + 8 / 0.5 * 1000)


def test_an_ended_job_estimates_no_finish(job_store: JobStore, claim: Claim) -> None:
    job_store.record_points(claim.job_id, 1, [point(0)])
    job_store.finish(claim.job_id, 1, JobStatus.CANCELLED)
    assert job_store.get(claim.job_id).progress.estimated_finish is None


def test_a_warning_is_listed_once(job_store: JobStore, claim: Claim) -> None:
    chance = JobWarning(code="chance_level", message="l1 is at chance level: 10 %\n(of 100 images)")
    few = JobWarning(code="few_images", message='fewer images than classes "10"')
    for warning in (chance, few, chance):
        job_store.warn(claim.job_id, 1, warning)
    assert job_store.get(claim.job_id).warnings == [chance, few]


def test_weights_have_one_name_whatever_their_rounding() -> None:
    assert weights_key([0.1 + 0.2, -0.0, 1]) == weights_key([0.3, 0.0, 1.0]) == "0.3,0,1"
    assert weights_key([1e-17 - 1e-17, -0.4]) == "0,-0.4"
