"""Jobs that refine their soups, on the shipped pantries and images."""

from pathlib import Path
from typing import Any

import pytest

from search.evaluation import PLAIN, EvaluationRequest, Refinement
from service.adaptation_sets.registry import SetRegistry
from service.adaptation_sets.stored import StoredSet
from service.errors import InvalidRequest
from service.pantries.registry import PantryRegistry
from service.schemas.job import Job, JobStatus, Point
from service.schemas.result import Result
from tests.workers.evaluation.shipped import EXAMPLES, NAMES, shipped_set, shipped_stack
from tests.workers.jobs.conftest import Bench
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.folder import evaluate_model, load_folder
from workers.jobs.manifest import read_manifest
from workers.jobs.reproduce import reproduce
from workers.soups.verify import verify_folder
from workers.supervisor.merging import merge_in_process

pytestmark = pytest.mark.slow

AUTO = {"statistics": "auto", "head": "auto"}
GRID = {"strategy": "grid", "lower": 0, "upper": 1, "step": 0.5}
FINE = {"strategy": "grid", "lower": -0.4, "upper": 1.4, "step": 0.1}
SHIFT = "fashion-low-contrast"


@pytest.fixture
def shipped(bench: Bench) -> Bench:
    for pantry in ("fashion-resnet", "fashion-vit"):
        folders = {name: EXAMPLES / "pantries" / pantry / name for name in NAMES}
        PantryRegistry(bench.artifacts, bench.settings).add(pantry, folders, verify_folder)
    return bench


def submit(bench: Bench, pantry: str = "fashion-resnet", **fields: Any) -> str:
    stored = SetRegistry(bench.artifacts, bench.settings).add(EXAMPLES / "sets" / SHIFT / "adaptation.zip")
    body = {"adaptation_sets": [stored.id], "search": GRID, "held_out_fraction": 0.0}
    return bench.submit(pantry, **(body | fields))


def result_of(job: Job) -> Result:
    assert job.result is not None, job.error
    return job.result


def delivered(bench: Bench, sha256: str, folder: Path) -> Path:
    """A model of the store as a folder."""
    folder.mkdir()
    for name in ("config.json", "model.safetensors"):
        (folder / name).write_bytes(bench.artifacts.read("models", sha256, name))
    return folder


def sets_of(bench: Bench, model: Path) -> list[StoredSet]:
    registry = SetRegistry(bench.artifacts, bench.settings)
    return [registry.open(digest) for digest in read_manifest(model).adaptation_sets]


def folders(bench: Bench, pantry: str) -> dict[str, Path]:
    stored = PantryRegistry(bench.artifacts, bench.settings).open(pantry)
    return dict(zip(NAMES, stored.folders, strict=True))


def refinement_of(points: list[Point]) -> Refinement:
    [refinement] = {point.refinement for point in points}
    return refinement


def test_a_refined_soup_is_better_on_other_images_and_made_again_byte_for_byte(shipped: Bench, tmp_path: Path) -> None:
    plain = result_of(shipped.run(submit(shipped)))
    job = shipped.run(submit(shipped, refine=AUTO | {"temperature": True}))
    result = result_of(job)

    assert result.refinement is not None
    assert (result.refinement.statistics, result.refinement.images, result.refinement.prior) == ("adapted", 100, 16)
    refinement = refinement_of(list(shipped.store.iter_points(job.id)))
    assert result.refinement.head == refinement.head
    assert (result.refinement.temperature is not None) == refinement.temperature
    assert (result.refinement.strength is not None) == (refinement.head == "refit")

    stack = shipped_stack("fashion-resnet")
    weights = tuple(result.weights.values())
    evaluator = Evaluator(stack, [shipped_set(stack, SHIFT)], batch_size=64, threads=1)
    crossed = evaluator.answer(EvaluationRequest(weights, refinement=refinement)).sets[0]
    assert result.score == crossed.accuracy
    assert result.nll == pytest.approx(crossed.nll, abs=1e-5)
    assert result.score == result.top[0].score
    assert result.per_set[job.request.adaptation_sets[0]].score == result.score

    before, after = (delivered(shipped, each.model.sha256, tmp_path / each.model.sha256) for each in (plain, result))
    held_out = shipped_set(stack, SHIFT, "held_out")
    scores = [evaluate_model(load_folder(folder), held_out) for folder in (before, after)]
    assert scores[1].accuracy > scores[0].accuracy + 0.1
    assert scores[1].nll < scores[0].nll

    model = after / "model.safetensors"
    assert read_manifest(model).refinement == result.refinement
    assert read_manifest(before / "model.safetensors").refinement is None
    again = reproduce(model, folders(shipped, "fashion-resnet"), sets_of(shipped, model))
    assert (again.same, again.refined) == (True, True)
    with pytest.raises(InvalidRequest, match=job.request.adaptation_sets[0]) as caught:
        reproduce(model, folders(shipped, "fashion-resnet"))
    assert caught.value.code == "other_sets"


def test_any_point_is_refined_as_the_winner_is(shipped: Bench) -> None:
    job = shipped.run(submit(shipped, refine={"statistics": "adapted"}))
    result = result_of(job)
    points = list(shipped.store.iter_points(job.id))
    assert refinement_of(points) == Refinement("adapted")
    place = next(point.index for point in points if point.weights == list(result.weights.values()))
    other = next(point.index for point in points if point.index != place)
    for point in (place, other):
        merge_in_process(shipped.settings, job.id, point)
    models = [shipped.store.merged_model(job.id, point) for point in (place, other)]
    assert [model is not None for model in models] == [True, True]
    assert models[0] is not None
    assert models[1] is not None
    assert models[0].sha256 == result.model.sha256 != models[1].sha256


def test_refined_baselines_are_in_every_result(shipped: Bench) -> None:
    result = result_of(shipped.run(submit(shipped, held_out_fraction=0.5)))
    assert result.refinement is None
    assert result.baselines is not None
    assert result.held_out is not None
    for name in ("adapted_statistics", "refitted_head"):
        shown, apart = getattr(result.baselines, name), getattr(result.held_out, name)
        assert shown.ingredient == apart.ingredient in NAMES
        assert None not in (shown.nll, shown.interval, apart.nll, apart.interval)
        assert shown.score != apart.score
    assert result.held_out.paired_test is not None
    assert result.paired_test is not None
    assert result.held_out.paired_test.against == result.paired_test.against
    assert "held-out images" in result.summary
    assert result.baselines.adapted_statistics is not None
    assert result.held_out.soup.score < result.baselines.adapted_statistics.score
    assert 'use refine.statistics "auto"' in result.summary


def test_auto_leaves_out_what_a_vision_transformer_lacks(shipped: Bench) -> None:
    result = result_of(shipped.run(submit(shipped, "fashion-vit", refine=AUTO)))
    assert result.refinement is not None
    assert (result.refinement.statistics, result.refinement.head) == ("source", "refit")
    assert result.baselines is not None
    assert result.baselines.adapted_statistics is None
    assert result.baselines.refitted_head is not None
    assert result.score >= result.baselines.refitted_head.score - 0.05


def test_what_a_pantry_does_not_allow_fails_the_job(shipped: Bench) -> None:
    job = shipped.run(submit(shipped, "fashion-vit", refine={"statistics": "adapted"}))
    assert job.status is JobStatus.FAILED
    assert job.error is not None
    assert (job.error.code, job.error.param) == ("statistics_not_adaptable", "refine.statistics")
    assert "source" in job.error.message


def test_with_threats_there_are_no_refined_baselines(shipped: Bench) -> None:
    threat = {"norm": "Linf", "eps": 0.1, "steps": 1}
    uniform = {"strategy": "uniform"}
    objective = {"metric": "robust_accuracy", "threats": [threat]}
    result = result_of(shipped.run(submit(shipped, search=uniform, objective=objective)))
    assert result.baselines is not None
    assert (result.baselines.adapted_statistics, result.baselines.refitted_head) == (None, None)


def test_outcomes_of_other_refinements_are_not_taken_for_ones_own(shipped: Bench) -> None:
    scores = []
    for refine in ({}, {"statistics": "adapted"}, {"head": "refit"}, {}):
        job = shipped.run(submit(shipped, refine=refine))
        points = list(shipped.store.iter_points(job.id))
        scores.append([(point.score, point.nll) for point in points])
        reused = result_of(job).cost.reused_points
    assert scores[0] == scores[3]
    assert scores[0] != scores[1] != scores[2] != scores[0]
    assert reused == len(scores[3])


def test_a_killed_attempt_goes_on_to_the_same_bytes(shipped: Bench) -> None:
    whole = shipped.run(submit(shipped, refine=AUTO, seed=1))
    job_id = submit(shipped, refine=AUTO, seed=1)
    shipped.forget_outcomes()
    child = shipped.start(job_id, points_per_trial=1)
    shipped.await_points(job_id, 4)
    child.kill()
    child.wait()
    recorded = sum(1 for _ in shipped.store.iter_points(job_id))
    assert shipped.store.fail_attempt(job_id, 1, "killed", lost=True).retried
    job = shipped.run(job_id)
    assert job.attempt == 2
    assert result_of(job).model.sha256 == result_of(whole).model.sha256
    assert result_of(job).cost.reused_points >= min(recorded, 4) - len(NAMES) - 1
    assert result_of(job).refinement == result_of(whole).refinement


@pytest.mark.parametrize("between_attempts", [False, True])
def test_a_cancelled_job_delivers_a_refined_soup(shipped: Bench, between_attempts: bool) -> None:
    job_id = submit(shipped, refine={"statistics": "adapted"}, search=FINE)
    child = shipped.start(job_id)
    shipped.await_points(job_id, 8)
    if between_attempts:
        child.kill()
        child.wait()
        assert shipped.store.fail_attempt(job_id, 1, "killed").retried
    shipped.store.cancel(job_id)
    job = shipped.run(job_id) if between_attempts else shipped.end(child, job_id)
    result = result_of(job)
    assert job.status is JobStatus.CANCELLED
    assert result.partial
    assert result.refinement is not None
    assert result.refinement.statistics == "adapted"
    assert "cancelled" in result.summary
    model = shipped.artifacts.open("models", result.model.sha256).path / "model.safetensors"
    assert reproduce(model, folders(shipped, "fashion-resnet"), sets_of(shipped, model)).same


def test_points_of_plain_jobs_say_that_nothing_was_changed(shipped: Bench) -> None:
    job = shipped.run(submit(shipped, search={"strategy": "uniform"}))
    assert refinement_of(list(shipped.store.iter_points(job.id))) == PLAIN
