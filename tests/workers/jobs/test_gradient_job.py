"""A job that follows gradients, killed in the middle of its search."""

import pytest

from search.journal import unpacked
from search.space import Space
from service.schemas.job import Job, JobStatus, Point
from tests.workers.jobs.conftest import HELD_OUT, IMAGES, Bench

pytestmark = pytest.mark.slow

SEARCH = {"strategy": "gradient", "budget": {"evaluations": 20}}
SELECTION = round(IMAGES * (1 - HELD_OUT))
STARTS = 4


def points_of(bench: Bench, job: Job) -> list[Point]:
    points = sorted(bench.store.iter_points(job.id), key=lambda point: point.index)
    return [point.model_copy(update={"seconds": 0.0}) for point in points]


def test_a_killed_descent_goes_on_to_the_same_soups_and_the_same_bytes(bench: Bench) -> None:
    bench.add_pantry()
    job_id = bench.submit(preset="auto", search=SEARCH)
    child = bench.start(job_id, points_per_trial=1)
    bench.await_points(job_id, STARTS + 1)
    child.kill()
    child.wait()
    recorded = sum(1 for _ in bench.store.iter_points(job_id))
    outcomes = {name: text for name, text in bench.journalled().items() if name.endswith("gradient")}
    assert STARTS < recorded == len(outcomes)
    assert all(each.gradient.shape == (1, 3) for text in outcomes.values() for each in unpacked(text).sets)
    assert bench.store.fail_attempt(job_id, 1, "killed", lost=True).retried
    resumed = bench.run(job_id)
    bench.forget_outcomes()
    whole = bench.run(bench.submit(preset="auto", search=SEARCH))

    assert resumed.status is whole.status is JobStatus.SUCCEEDED, (resumed.error, whole.error)
    assert resumed.result is not None
    assert whole.result is not None
    assert resumed.result.cost.reused_points == recorded
    assert points_of(bench, resumed) == points_of(bench, whole)
    assert resumed.result.model.sha256 == whole.result.model.sha256
    cost, points = whole.result.cost, points_of(bench, whole)
    assert cost.evaluations == len(points) > STARTS
    assert cost.forward_passes == cost.backward_passes == SELECTION * len(points)
    assert whole.result.refinement is None
    assert whole.result.held_out is not None
    best = tuple(whole.result.weights.values())
    assert best in Space(3)
    assert not all(round(weight * 5) == pytest.approx(weight * 5) for weight in best)
    assert whole.result.score >= max(point.score or -9.0 for point in points[:STARTS])
