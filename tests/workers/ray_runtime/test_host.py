"""What lives in an evaluator's process, without Ray around it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.workers.jobs.conftest import INGREDIENTS, write_ingredient
from workers.ray_runtime.host import EvaluatorHost
from workers.ray_runtime.task import AttackPlan, SetPart, Task, Unprepared
from workers.soups.stack import IngredientStack

COUNT = 12
UNIFORM = (1 / 3, 1 / 3, 1 / 3)


def task_on(images: str) -> Task:
    accepted = tuple((row % 4,) for row in range(COUNT))
    part = SetPart(images, tuple(range(COUNT)), accepted, ((0,), (1,), (2,), (3,)), 4)
    return Task("ingredients", (part,), "float32", 8)


@pytest.fixture
def host(tmp_path: Path) -> EvaluatorHost:
    """An evaluator whose cache holds nothing beyond the present task."""
    host = EvaluatorHost("cpu", torch.get_num_threads(), neighbours=1, cache_bytes=0)
    folders = [write_ingredient(tmp_path / name, seed, 0.1) for seed, name in enumerate(INGREDIENTS)]
    host.load("ingredients", IngredientStack.from_folders(folders).arrays())
    rng = np.random.default_rng(0)
    for name in ("first", "second"):
        host.load(name, {"images": rng.integers(0, 256, (COUNT, 1, 28, 28), dtype=np.uint8)})
    return host


def test_a_task_that_made_room_for_another_is_asked_for_again(host: EvaluatorHost) -> None:
    first, second = task_on("first"), task_on("second")
    images = host._cache.get("first")
    host.prepare(first)
    before = host.score("token", first.digest, UNIFORM)
    assert host.missing(second) == ("second",)
    host.load("second", {"images": images})
    host.prepare(second)
    with pytest.raises(Unprepared):
        host.score("token", first.digest, UNIFORM)
    (report,) = host.evaluate("token", first.digest, [UNIFORM])
    assert report.problem is not None
    assert (report.problem.code, report.problem.retryable, report.scores) == ("unprepared", True, ())

    assert host.missing(first) == ("first",)
    with pytest.raises(Unprepared):
        host.prepare(first)
    host.load("first", {"images": images})
    host.prepare(first)
    assert host.score("token", first.digest, UNIFORM).sets[0].nll_sum == before.sets[0].nll_sum


def test_a_stopped_batch_reports_no_more_points(host: EvaluatorHost) -> None:
    task = task_on("first")
    host.prepare(task)
    host.stop(["another"])
    assert sum(len(report.scores) for report in host.evaluate("token", task.digest, [UNIFORM] * 3)) == 3
    host.stop(["token"])
    assert sum(len(report.scores) for report in host.evaluate("token", task.digest, [UNIFORM] * 3)) == 0


def test_a_job_that_was_accepted_with_a_radius_wider_than_the_pixels_is_attacked(host: EvaluatorHost) -> None:
    plan = AttackPlan("Linf", 8.0, steps=2, loss="ce", restarts=1, larger_radii=False)
    task = replace(task_on("first"), attacks=(plan,))
    host.prepare(task)
    score = host.score("token", task.digest, UNIFORM)
    (part,) = score.sets
    assert score.complete
    assert part.robust is not None
    assert part.robust.shape == (1, COUNT)
