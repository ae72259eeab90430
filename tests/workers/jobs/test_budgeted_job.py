"""Jobs that their budget ends and others continue, run whole in their own processes."""

import pytest

from service.schemas.job import Job, JobStatus
from service.schemas.result import Result
from tests.workers.jobs.conftest import HELD_OUT, IMAGES, Bench

SELECTION = round(IMAGES * (1 - HELD_OUT))


def result_of(job: Job) -> Result:
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


@pytest.mark.slow
def test_passes_end_a_search_at_the_same_soup_whatever_is_known_already(bench: Bench) -> None:
    bench.add_pantry()
    search = {"strategy": "random", "budget": {"forward_passes": 10 * SELECTION + 3}}
    first = bench.run(bench.submit(search=search))
    again = bench.run(bench.submit(search=search))
    for job in (first, again):
        result = result_of(job)
        assert result.ended_by == "forward_passes"
        assert result.cost.evaluations == job.progress.total == 10
        assert "ended after 10 soups: another might have exceeded its budget" in result.summary
    assert (result_of(again).weights, result_of(again).top) == (result_of(first).weights, result_of(first).top)
    assert result_of(first).cost.forward_passes == 10 * SELECTION
    assert (result_of(again).cost.reused_points, result_of(again).cost.forward_passes) == (10, 0)
    whole = bench.run(bench.submit(search={"strategy": "random", "budget": {"evaluations": 10}}))
    assert (result_of(whole).ended_by, result_of(whole).top) == ("evaluations", result_of(first).top)


@pytest.mark.slow
def test_a_search_goes_on_with_the_time_that_an_attempt_before_has_left(bench: Bench) -> None:
    bench.add_pantry()
    search = {"strategy": "random", "step": 0.05, "budget": {"evaluations": 1000, "seconds": 30}}
    job_id = bench.submit(search=search)
    process = bench.start(job_id)
    bench.await_points(job_id, 20)
    process.kill()
    process.wait()
    bench.store.release(job_id, 1)
    key = bench.store.keys.job(job_id)
    began = float(bench.store.redis.hget(key, "attempt_started_at") or 0)
    bench.store.redis.hset(key, "attempt_started_at", round(began - 30_000))
    before = [point.weights for point in bench.store.iter_points(job_id)]
    job = bench.run(job_id)
    assert result_of(job).ended_by == "seconds"
    assert [point.weights for point in bench.store.iter_points(job_id)] == before
    assert job.progress.total == len(before)


@pytest.mark.slow
def test_a_job_goes_on_where_an_earlier_one_ended(bench: Bench) -> None:
    """It evaluates nothing again, and finds what a job with the greater budget finds from the beginning."""
    bench.add_pantry()
    few, many = ({"strategy": "bayes", "tolerance": 0, "budget": {"evaluations": count}} for count in (8, 14))
    earlier = bench.run(bench.submit(search=few, objective={"metric": "nll"}))
    assert result_of(earlier).cost.evaluations == 8
    points = [point.weights for point in bench.store.iter_points(earlier.id)]
    job_id = bench.submit(search=many | {"continue_from": earlier.id}, objective={"metric": "nll"})
    continued = bench.run(job_id)
    cost = result_of(continued).cost
    assert (cost.evaluations, cost.reused_points, cost.forward_passes) == (14, 8, 6 * SELECTION)
    assert [point.weights for point in bench.store.iter_points(job_id)][:8] == points
    whole = bench.run(bench.submit(search=many, objective={"metric": "nll"}))
    assert result_of(whole).top == result_of(continued).top
