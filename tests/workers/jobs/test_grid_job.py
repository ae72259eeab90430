"""A grid job, run whole in its own process."""

from typing import Any

import numpy as np
import pytest

from search.lattice import Lattice
from service.schemas.job import Job, JobStatus
from service.schemas.result import Result
from tests.workers.jobs.conftest import HELD_OUT, IMAGES, Bench, Reference
from workers.evaluation.baselines import evaluate_baselines
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.folder import evaluate_model, load_folder
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.jobs.reproduce import reproduce
from workers.jobs.split import split_images
from workers.soups.files import load_tensors
from workers.soups.model import read_config
from workers.soups.stack import IngredientStack

pytestmark = pytest.mark.slow

SELECTION = 42


def images(reference: Reference, *, held_out: bool = False) -> EncodedSet:
    arrays = np.load(reference.bench.folder / f"{IMAGES}.npz")
    split = split_images(tuple(range(IMAGES)), arrays["labels"][:, None].tolist(), HELD_OUT, seed=0)
    rows = np.array(split.held_out if held_out else split.selection)
    encoded = encode_images(arrays["images"][rows], DataConfig.of(read_config(reference.ingredients[0])))
    return EncodedSet.of_classes(encoded, arrays["labels"][rows], 4)


def result_of(job: Job) -> Result:
    assert job.result is not None, job.error
    return job.result


def comparable(job: Job) -> dict[str, Any]:
    return result_of(job).model_dump(exclude={"cost": True, "model": {"url"}})


def test_every_point_equals_a_bare_loop(reference: Reference) -> None:
    job = reference.job
    assert job.status is JobStatus.SUCCEEDED, job.error
    lattice = Lattice(3, -0.5, 1.5, 0.25)
    points = list(reference.bench.store.iter_points(job.id))
    assert [point.index for point in points] == list(range(lattice.count()))
    assert job.progress.done == job.progress.total == lattice.count()
    stack = IngredientStack.from_folders(reference.ingredients)
    evaluator = Evaluator(stack, [images(reference)], batch_size=64, threads=1)
    for row, point in zip(lattice.weights(), points, strict=True):
        score = evaluator.evaluate(row).sets[0]
        assert point.weights == row.tolist()
        assert point.score == score.accuracy
        assert point.nll == pytest.approx(score.nll, abs=1e-6)


def test_the_result_is_complete_and_consistent(reference: Reference) -> None:
    job, result = reference.job, result_of(reference.job)
    assert job.best is not None
    assert result.score == result.top[0].score == job.best.score
    assert result.weights == result.top[0].weights == job.best.weights
    assert len(result.top) == 5
    assert result.interval is not None
    assert result.interval[0] <= result.score <= result.interval[1]
    assert result.baselines is not None
    assert set(result.baselines.ingredients) == set(result.weights)
    assert max(each.score for each in result.baselines.ingredients.values()) <= result.score
    assert result.paired_test is not None
    assert result.paired_test.difference >= 0
    assert not result.partial
    assert result.cost.evaluations == job.progress.total
    assert result.cost.forward_passes == result.cost.grid_forward_passes == job.progress.total * SELECTION
    assert "few_images" in {warning.code for warning in job.warnings}


def test_the_model_is_the_weighted_sum_scores_so_and_can_be_made_again(reference: Reference) -> None:
    result, artifacts = result_of(reference.job), reference.bench.artifacts
    path = artifacts.open("models", result.model.sha256).path / "model.safetensors"
    assert path.stat().st_size == result.model.bytes
    again = reproduce(path, dict(zip(result.weights, reference.ingredients, strict=True)))
    assert again.same
    assert again.given == result.model.sha256
    downloaded = reference.bench.folder / "downloaded"
    downloaded.mkdir()
    (downloaded / "model.safetensors").write_bytes(path.read_bytes())
    (downloaded / "config.json").write_bytes(artifacts.read("models", result.model.sha256, "config.json"))
    model = load_folder(downloaded)
    assert result.score == pytest.approx(evaluate_model(model, images(reference)).accuracy, abs=1e-9)
    held_out = images(reference, held_out=True)
    assert result.held_out is not None
    assert result.held_out.images == len(held_out) == IMAGES - SELECTION
    assert result.held_out.soup.score == pytest.approx(evaluate_model(model, held_out).accuracy, abs=1e-9)
    assert result.held_out.soup.nll == pytest.approx(evaluate_model(model, held_out).nll, abs=1e-6)
    tensors = [load_tensors(folder) for folder in reference.ingredients]
    for name, merged in load_tensors(downloaded).items():
        expected = sum(w * t[name].double() for w, t in zip(result.weights.values(), tensors, strict=True))
        assert float((merged.double() - expected).abs().max()) < 1e-6


def test_the_baselines_are_scored_on_the_held_out_images_too(reference: Reference) -> None:
    apart = result_of(reference.job).held_out
    assert apart is not None
    stack = IngredientStack.from_folders(reference.ingredients)
    apart_images = images(reference, held_out=True)
    executor = LocalExecutor(Evaluator(stack, [apart_images], batch_size=64, threads=1))
    expected = evaluate_baselines(executor, 3, [apart_images], attacked=False)
    documents = [*apart.ingredients.values(), apart.uniform_soup, apart.logit_ensemble, apart.softmax_ensemble]
    scores = [*expected.ingredients, expected.uniform_soup, expected.logit_ensemble, expected.softmax_ensemble]
    for document, score in zip(documents, scores, strict=True):
        assert document is not None
        assert score is not None
        assert document.score == score.sets[0].accuracy
        assert document.nll == pytest.approx(score.sets[0].nll, abs=1e-6)
        assert document.interval is not None
    assert apart.reference is None


def test_the_number_of_evaluators_does_not_change_the_result(reference: Reference, bench: Bench) -> None:
    bench.add_pantry()
    job = bench.run(bench.submit(), evaluators=3)
    assert comparable(job) == comparable(reference.job)
    assert result_of(job).cost.reused_points == 0


def test_the_same_request_again_evaluates_no_soup_of_the_grid(reference: Reference) -> None:
    bench = reference.bench
    job = bench.run(bench.submit())
    assert comparable(job) == comparable(reference.job)
    assert result_of(job).cost.reused_points == job.progress.total
    assert job.progress.images == 0
