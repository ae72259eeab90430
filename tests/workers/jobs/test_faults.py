"""What happens to a job when something dies, or its user changes their mind."""

import pytest

from search.evaluation import weights_key
from service.schemas.job import JobStatus
from soupsearch.embedded.cluster import LocalCluster
from tests.processes import running
from tests.workers.jobs.conftest import PATIENCE, Bench, Reference
from tests.workers.jobs.test_grid_job import comparable, result_of
from workers.faults import Fault

pytestmark = pytest.mark.slow

LARGE_GRID = {"strategy": "grid", "lower": -0.5, "upper": 1.5, "step": 0.0625}
ONE_BY_ONE = {"points_per_trial": 4}
ALL_AT_ONCE = {"points_per_trial": 10_000}


def test_a_second_attempt_evaluates_only_what_the_journal_lacks(reference: Reference, bench: Bench) -> None:
    whole = reference.job
    bench.add_pantry()
    job_id = bench.submit()
    child = bench.start(job_id, **ONE_BY_ONE)
    bench.await_points(job_id, 8)
    child.kill()
    child.wait()
    before = {weights_key(point.weights): point for point in bench.store.iter_points(job_id)}
    assert 8 <= len(before) < whole.progress.total
    assert bench.store.fail_attempt(job_id, 1, "killed", lost=True).retried

    job = bench.run(job_id)

    assert job.attempt == 2
    assert comparable(job) == comparable(whole)
    assert result_of(job).cost.reused_points == len(before)
    assert job.progress.images == whole.progress.images
    after = {weights_key(point.weights): point for point in bench.store.iter_points(job_id)}
    assert {key: after[key] for key in before} == before


def test_cancelling_stops_the_batch_under_way_and_keeps_the_best(bench: Bench) -> None:
    bench.add_pantry()
    job_id = bench.submit(search=LARGE_GRID | {"step": 0.03125})
    child = bench.start(job_id, **ALL_AT_ONCE)
    bench.await_points(job_id, 20)
    bench.store.cancel(job_id)

    job = bench.end(child, job_id)
    assert job.status is JobStatus.CANCELLED
    assert 20 <= job.progress.done < job.progress.total
    result = result_of(job)
    assert result.partial
    assert result.score == max(point.score or 0 for point in bench.store.iter_points(job_id))
    assert bench.artifacts.exists("models", result.model.sha256)


def test_a_paused_job_lets_go_and_goes_on_where_it_was(reference: Reference, bench: Bench) -> None:
    whole = reference.job
    bench.add_pantry()
    job_id = bench.submit()
    child = bench.start(job_id, **ONE_BY_ONE)
    bench.await_points(job_id, 8)
    bench.store.pause(job_id)
    before = {weights_key(point.weights): point for point in bench.store.iter_points(job_id)}
    assert child.wait(PATIENCE) == Fault.SUPERSEDED
    assert bench.store.get(job_id).status is JobStatus.PAUSED
    assert {weights_key(point.weights): point for point in bench.store.iter_points(job_id)} == before

    other = bench.run(bench.submit(search={"strategy": "uniform"}))
    assert other.status is JobStatus.SUCCEEDED

    bench.store.resume(job_id)
    job = bench.run(job_id)
    assert (job.attempt, comparable(job)) == (2, comparable(whole))
    assert result_of(job).cost.reused_points == len(before)
    assert job.progress.images == whole.progress.images


def test_a_job_killed_as_it_is_paused_stays_paused_and_can_be_cancelled_with_its_best(bench: Bench) -> None:
    bench.add_pantry()
    job_id = bench.submit(search=LARGE_GRID)
    child = bench.start(job_id)
    bench.await_points(job_id, 20)
    bench.store.pause(job_id)
    child.kill()
    child.wait()
    job = bench.store.get(job_id)
    assert (job.status, job.error) == (JobStatus.PAUSED, None)
    assert bench.store.claim("tests") is None

    assert bench.store.cancel(job_id).status is JobStatus.CANCELLING
    job = bench.run(job_id)
    assert job.status is JobStatus.CANCELLED
    assert result_of(job).score == max(point.score or 0 for point in bench.store.iter_points(job_id))


def test_a_job_cancelled_between_two_attempts_keeps_its_best(bench: Bench) -> None:
    bench.add_pantry()
    job_id = bench.submit(search=LARGE_GRID)
    child = bench.start(job_id)
    bench.await_points(job_id, 20)
    child.kill()
    child.wait()
    assert bench.store.fail_attempt(job_id, 1, "killed").retried
    assert bench.store.cancel(job_id).status is JobStatus.CANCELLING

    job = bench.run(job_id)
    assert job.status is JobStatus.CANCELLED
    result = result_of(job)
    assert result.partial
    assert result.score == max(point.score or 0 for point in bench.store.iter_points(job_id))


def test_an_attempt_cancelled_before_its_first_point_keeps_the_best_of_the_earlier_one(bench: Bench) -> None:
    bench.add_pantry()
    job_id = bench.submit(search=LARGE_GRID)
    child = bench.start(job_id)
    bench.await_points(job_id, 20)
    child.kill()
    child.wait()
    best = bench.store.get(job_id).best
    assert best is not None
    assert bench.store.fail_attempt(job_id, 1, "killed").retried
    child = bench.start(job_id)
    bench.store.cancel(job_id)
    code = child.wait(PATIENCE)
    if code != 0:  # it was cancelled before it knew of any soup, and left the job to another
        assert code == Fault.ELSEWHERE
        assert bench.store.fail_attempt(job_id, 2, "cancelled as it began", lost=True).retried
        child = bench.start(job_id)

    job = bench.end(child, job_id)
    assert job.status is JobStatus.CANCELLED
    assert result_of(job).score >= best.score


def test_a_job_cancelled_with_soups_that_are_not_finite_is_cancelled_and_did_not_fail(bench: Bench) -> None:
    bench.add_pantry("wild", perturbation=1e25)
    job_id = bench.submit("wild", search=LARGE_GRID)
    child = bench.start(job_id)
    bench.await_points(job_id, 8)
    bench.store.cancel(job_id)

    job = bench.end(child, job_id)
    assert job.status is JobStatus.CANCELLED
    assert (job.result, job.error) == (None, None)


def test_a_job_cancelled_before_its_first_point_has_no_result(bench: Bench) -> None:
    bench.add_pantry()
    job_id = bench.submit()
    child = bench.start(job_id)
    bench.store.cancel(job_id)

    job = bench.end(child, job_id)
    assert job.status is JobStatus.CANCELLED
    assert job.result is None


def test_a_killed_evaluator_is_replaced(reference: Reference, bench: Bench, cluster: LocalCluster) -> None:
    bench.add_pantry()
    job_id = bench.submit()
    child = bench.start(job_id, **ONE_BY_ONE)
    bench.await_points(job_id, 8)
    killed = kill_evaluators(cluster)

    job = bench.end(child, job_id)
    assert killed
    assert job.attempt == 1
    assert comparable(job) == comparable(reference.job)


def kill_evaluators(cluster: LocalCluster) -> list[int]:
    """Kill the evaluators of this cluster; their process titles name the actor."""
    evaluators = running(cluster.pids, "EvaluatorActor")
    for process in evaluators:
        process.kill()
    return [process.pid for process in evaluators]


def test_a_job_without_a_finite_soup_fails_with_its_code(bench: Bench) -> None:
    bench.add_pantry("wild", perturbation=1e25)
    job = bench.run(bench.submit("wild"))

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "no_finite_soup"
    assert job.error.param == "search"


def test_a_set_whose_classes_the_pantry_lacks_fails_the_job(bench: Bench) -> None:
    bench.add_pantry()
    job_id = bench.submit()
    bench.remove("sets", bench.add_set())
    job = bench.run(job_id)

    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert job.error.code == "set_not_found"
