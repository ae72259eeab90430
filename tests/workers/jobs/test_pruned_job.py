"""Grids that drop soups, run whole in their own processes."""

from typing import Any

import pytest

from service.schemas.job import Job, JobStatus
from service.schemas.result import Result
from tests.workers.jobs.conftest import SMALL_GRID, Bench

pytestmark = pytest.mark.slow

ROBUST = {
    "metric": "robust_accuracy",
    "threats": [{"norm": "Linf", "eps": 0.02, "steps": 3}, {"norm": "L2", "eps": 0.4, "steps": 3}],
}


def result_of(job: Job) -> Result:
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


@pytest.mark.parametrize(
    "objective", [{"metric": "accuracy"}, {"metric": "nll"}, ROBUST], ids=lambda each: each["metric"]
)
def test_a_pruned_grid_reports_what_the_full_one_does(bench: Bench, objective: dict[str, Any]) -> None:
    bench.add_pantry()
    full = bench.run(bench.submit(objective=objective, top_k=3))
    job = bench.run(bench.submit(objective=objective, top_k=3, search=SMALL_GRID | {"prune": True}), evaluators=2)
    whole, pruned = result_of(full), result_of(job)
    assert whole.weights == pruned.weights
    assert [soup.weights for soup in pruned.top] == [soup.weights for soup in whole.top]
    for ours, theirs in zip(pruned.top, whole.top, strict=True):
        assert ours.score == pytest.approx(theirs.score, rel=1e-6)
    assert pruned.cost.evaluations == whole.cost.evaluations
    assert 0 < pruned.cost.pruned_points < pruned.cost.evaluations
    assert pruned.cost.forward_passes < whole.cost.forward_passes
    assert pruned.cross_validated is None
    points = list(bench.store.iter_points(job.id))
    assert sum(point.pruned for point in points) == pruned.cost.pruned_points == job.progress.pruned
    assert all((point.score is None) == point.pruned for point in points)


def test_a_pruned_grid_is_not_cross_validated_even_if_it_drops_nothing(bench: Bench) -> None:
    bench.add_pantry()
    search = SMALL_GRID | {"prune": True, "step": 0.5}
    result = result_of(bench.run(bench.submit(objective={"metric": "accuracy"}, search=search, top_k=100)))
    assert (result.cost.pruned_points, result.cross_validated) == (0, None)


def test_a_killed_search_drops_on_and_ends_the_same(bench: Bench) -> None:
    bench.add_pantry()
    search = SMALL_GRID | {"prune": True, "step": 0.125}
    fields: dict[str, Any] = {"objective": {"metric": "accuracy"}, "search": search}
    job_id = bench.submit(**fields)
    child = bench.start(job_id, points_per_trial=1)
    bench.await_points(job_id, 40)
    child.kill()
    child.wait()
    assert bench.store.fail_attempt(job_id, 1, "killed", lost=True).retried
    resumed = bench.run(job_id)
    bench.forget_outcomes()
    whole = bench.run(bench.submit(**fields))
    assert result_of(resumed).weights == result_of(whole).weights
    assert result_of(resumed).model.sha256 == result_of(whole).model.sha256
    assert result_of(resumed).cost.reused_points >= 40
    assert result_of(resumed).cost.evaluations == result_of(whole).cost.evaluations


def test_a_race_is_the_same_with_other_evaluators(bench: Bench) -> None:
    bench.add_pantry()
    fields: dict[str, Any] = {"objective": {"metric": "accuracy"}, "search": SMALL_GRID | {"strategy": "race"}}
    dropped = []
    for evaluators in (1, 2):
        bench.forget_outcomes()
        job = bench.run(bench.submit(**fields), evaluators=evaluators)
        assert result_of(job).score == result_of(job).top[0].score
        dropped.append([tuple(point.weights) for point in bench.store.iter_points(job.id) if point.pruned])
    assert sorted(dropped[0]) == sorted(dropped[1]) != []
