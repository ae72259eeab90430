"""A job of the shortest request, killed in the middle of its search."""

from typing import Any

import pytest

from search.journal import unpacked
from search.space import Space
from search.strategies.auto import FEW, Auto
from service.schemas.job import Job, JobStatus
from service.schemas.request import AdaptRequest
from tests.workers.jobs.conftest import Bench

pytestmark = pytest.mark.slow

STARTS = 4
"""The ingredients and the uniform soup, which are evaluated before the search."""


def submit(bench: Bench) -> str:
    """The id of a job whose request names nothing but the pantry; its images are stored already."""
    job_id = bench.submit(preset="auto", search={}, held_out_fraction=0.0)
    request = bench.store.get(job_id).request.request
    shortest = {"pantry": "tiny", "adaptation_sets": request.adaptation_sets}
    assert request == AdaptRequest.model_validate(shortest)
    return job_id


def found(bench: Bench, job: Job) -> list[dict[str, Any]]:
    """The points in their order, without the time that they took."""
    points = sorted(bench.store.iter_points(job.id), key=lambda point: point.index)
    return [point.model_dump(exclude={"seconds"}) for point in points]


def test_a_killed_search_goes_on_to_the_same_soups_and_the_same_bytes(bench: Bench) -> None:
    bench.add_pantry()
    assert Auto().lattice(Space(3)).count() > FEW
    job_id = submit(bench)
    child = bench.start(job_id, points_per_trial=1)
    bench.await_points(job_id, STARTS + 1)
    child.kill()
    child.wait()
    recorded = sum(1 for _ in bench.store.iter_points(job_id))
    outcomes = bench.journalled()
    assert STARTS < recorded == len(outcomes)
    assert all(name.endswith("logits") for name in outcomes)
    assert all(each.logits is not None for text in outcomes.values() for each in unpacked(text).sets)
    assert bench.store.fail_attempt(job_id, 1, "killed", lost=True).retried
    resumed = bench.run(job_id)

    bench.forget_outcomes()
    whole = bench.run(submit(bench))

    assert (resumed.attempt, whole.attempt) == (2, 1)
    assert resumed.status is whole.status is JobStatus.SUCCEEDED
    assert resumed.result is not None
    assert whole.result is not None
    assert resumed.result.cost.reused_points == recorded
    assert whole.result.cost.reused_points == 0
    assert recorded <= whole.result.cost.evaluations
    assert found(bench, resumed) == found(bench, whole)
    assert resumed.result.refinement == whole.result.refinement
    assert resumed.result.model.sha256 == whole.result.model.sha256
