"""Jobs whose objectives and constraints are each on a set of its own, run whole in their own processes."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.ranking import distance_to_uniform
from service.adaptation_sets.registry import SetRegistry
from service.schemas.job import Job, JobStatus, Point
from service.schemas.result import Result
from tests.workers.jobs.conftest import Bench, write_images
from workers.jobs.manifest import read_manifest
from workers.jobs.reproduce import reproduce

pytestmark = pytest.mark.slow


@pytest.fixture
def sets(bench: Bench) -> list[str]:
    """Ids of two sets; the second is upside down, with the classes of before."""
    bench.ingredients = bench.add_pantry()
    straight = np.load(write_images(bench.folder / "straight.npz", 60))
    turned = bench.folder / "turned.npz"
    np.savez(turned, images=straight["images"][:, ::-1], labels=straight["labels"])
    registry = SetRegistry(bench.artifacts, bench.settings)
    return [registry.add(path).id for path in (bench.folder / "straight.npz", turned)]


def run(bench: Bench, sets: list[str], **fields: Any) -> tuple[Job, Result, list[Point]]:
    job = bench.run(bench.submit(adaptation_sets=sets, held_out_fraction=0, **fields))
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert job.result is not None
    return job, job.result, list(bench.store.iter_points(job.id))


def right(point: Point, place: int) -> float:
    return point.sets[place].correct / point.sets[place].images


def test_a_constraint_on_one_set_changes_the_soup_chosen_on_the_other(bench: Bench, sets: list[str]) -> None:
    shifted, clean = sets
    _, free, points = run(bench, sets, objective={"adaptation_sets": [shifted]})
    assert all(point.score == right(point, 0) for point in points)
    assert (free.images, free.cost.images) == (60, 120)
    assert free.score == free.per_set[shifted].score == max(right(point, 0) for point in points)
    bound = max(right(point, 1) for point in points)
    assert free.per_set[clean].score < bound

    constraint = {"at_least": bound, "adaptation_sets": [clean]}
    job, bound_to, points = run(bench, sets, objective={"adaptation_sets": [shifted]}, constraints=[constraint])
    holding = [point for point in points if right(point, 1) >= bound]
    best = min(
        holding, key=lambda each: (-right(each, 0), round(each.sets[0].nll, 6), distance_to_uniform(each.weights))
    )
    assert list(bound_to.weights.values()) == best.weights
    assert bound_to.weights != free.weights
    assert bound_to.constraints_met
    assert bound_to.score == right(best, 0)
    assert bound_to.constraints[0].value == bound_to.per_set[clean].score == bound
    assert bound_to.constraints[0].constraint.adaptation_sets == [clean]
    assert bound_to.paired_test is not None

    model = bench.artifacts.open("models", bound_to.model.sha256).path / "model.safetensors"
    assert read_manifest(model).request == job.request.request
    folders: dict[str, Path] = dict(zip(bound_to.weights, bench.ingredients, strict=True))
    assert reproduce(model, folders).same


def test_a_front_of_one_set_against_the_other(bench: Bench, sets: list[str]) -> None:
    objectives = [{"name": name, "adaptation_sets": [each]} for name, each in zip(("a", "b"), sets, strict=True)]
    _, result, points = run(bench, sets, objectives=objectives)
    values = {(right(point, 0), right(point, 1)) for point in points}
    front = {one for one in values if not any(each != one and np.greater_equal(each, one).all() for each in values)}
    assert len(front) > 1
    assert {tuple(soup.objectives.values()) for soup in result.front} == front
    assert result.objectives == {name: result.per_set[each].score for name, each in zip(("a", "b"), sets, strict=True)}
    assert result.interval == result.per_set[sets[0]].interval
