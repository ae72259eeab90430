"""What lives in an evaluator's process, without Ray around it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from search.evaluation import Bar, EvaluationRequest, Outcome, Visit
from search.objectives import Measure
from search.pruning import ExactBar
from tests.workers.jobs.conftest import INGREDIENTS, write_ingredient
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.ray_runtime.host import EvaluatorHost
from workers.ray_runtime.task import STOPPED, Order, Report, SetPart, Task, Unprepared
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


def reports(host: EvaluatorHost, task: Task, count: int = 1) -> list[Report]:
    return list(host.evaluate(Order("token", task.digest, (EvaluationRequest(UNIFORM),) * count)))


def evaluated(host: EvaluatorHost, task: Task) -> Outcome:
    (report,) = reports(host, task)
    assert report.failure is None
    (outcome,) = report.outcomes
    return outcome


def test_a_task_that_made_room_for_another_is_asked_for_again(host: EvaluatorHost) -> None:
    first, second = task_on("first"), task_on("second")
    images = host._cache.get("first")
    host.prepare(first)
    assert host.missing(first.digest, first.keys) is None
    before = evaluated(host, first)
    assert host.missing(second.digest, second.keys) == ("second",)
    host.load("second", {"images": images})
    host.prepare(second)
    (report,) = reports(host, first)
    assert report.failure is not None
    assert (report.failure.code, report.failure.retryable, report.outcomes) == ("unprepared", True, ())

    assert host.missing(first.digest, first.keys) == ("first",)
    with pytest.raises(Unprepared):
        host.prepare(first)
    host.load("first", {"images": images})
    host.prepare(first)
    assert evaluated(host, first).sets[0].nll == before.sets[0].nll


def test_a_stopped_batch_reports_no_more_outcomes(host: EvaluatorHost) -> None:
    task = task_on("first")
    host.prepare(task)
    host.stop(["another"])
    assert sum(len(report.outcomes) for report in reports(host, task, 3)) == 3
    host.stop(["token"])
    (report,) = reports(host, task, 3)
    assert report.failure is not None
    assert (report.failure.code, len(report.outcomes)) == (STOPPED, 0)


def test_weights_that_do_not_fit_are_our_fault_and_not_tried_again(host: EvaluatorHost) -> None:
    task = task_on("first")
    host.prepare(task)
    (report,) = host.evaluate(Order("token", task.digest, (EvaluationRequest((1.0, 1.0)),)))
    assert report.failure is not None
    assert (report.failure.code, report.failure.retryable) == ("evaluation_refused", False)


def test_an_evaluator_that_a_job_holds_is_not_idle(host: EvaluatorHost) -> None:
    host._last_use -= 100
    assert host.idle_seconds() >= 100
    host.hold(60)
    assert host.idle_seconds() == 0


def test_a_job_that_was_accepted_with_a_radius_wider_than_the_pixels_is_attacked(host: EvaluatorHost) -> None:
    attack = Attack(Threat("Linf", 8.0), steps=2)
    task = replace(task_on("first"), attacks=(attack,))
    host.prepare(task)
    outcome = evaluated(host, task)
    (part,) = outcome.sets
    assert outcome.status == "complete"
    assert part.robust is not None
    assert part.robust.shape == (1, COUNT)


def test_soups_must_clear_the_bar_of_their_batch_and_any_raised_since(host: EvaluatorHost) -> None:
    task = task_on("first")
    host.prepare(task)
    visit = Visit(((0, tuple(range(8))), (0, tuple(range(8, COUNT)))))
    request = EvaluationRequest(UNIFORM, visit=visit)
    least, most = (ExactBar((Measure(),), (), (0.0, score)) for score in (0.0, 1.1))

    def status(token: str, bar: Bar | None) -> str:
        (report,) = host.evaluate(Order(token, task.digest, (request,), bar))
        return report.outcomes[0].status

    assert [status("token", bar) for bar in (None, least, most)] == ["complete", "complete", "pruned"]
    host.raise_bar("token", most)
    assert [status("token", None), status("token", least), status("another", least)] == ["pruned", "pruned", "complete"]
