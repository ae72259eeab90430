"""Jobs under attack, run whole in their own processes."""

from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from service.errors import NotFound
from service.pantries.registry import PantryRegistry
from service.schemas.job import Job, JobStatus
from service.schemas.result import Result
from tests.workers.jobs.conftest import INGREDIENTS, Bench
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.jobs.reproduce import reproduce
from workers.soups.model import read_config
from workers.soups.stack import IngredientStack
from workers.supervisor.merging import merge_in_process

pytestmark = pytest.mark.slow

THREATS = [
    {"norm": "Linf", "eps": 0.02, "steps": 4},
    {"norm": "L2", "eps": 0.4, "steps": 4},
    {"norm": "L1", "eps": 4, "steps": 5, "larger_radii": True},
]
LABELS = ["Linf:0.02 steps=4", "L2:0.4 steps=4", "L1:4 steps=5 larger_radii=True"]
UNION = {"metric": "robust_accuracy", "threats": THREATS}
COARSE = {"strategy": "grid", "lower": -0.5, "upper": 1.5, "step": 0.5}


@pytest.fixture
def ready(bench: Bench) -> Bench:
    bench.ingredients = bench.add_pantry()
    return bench


def result_of(job: Job) -> Result:
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert job.result is not None
    return job.result


def evaluator_of(bench: Bench, count: int) -> Evaluator:
    arrays = np.load(bench.folder / f"{count}.npz")
    encoded = encode_images(arrays["images"], DataConfig.of(read_config(bench.ingredients[0])))
    images = EncodedSet.of_classes(encoded, arrays["labels"], 4)
    attacks = [
        Attack(Threat("Linf", 0.02), steps=4),
        Attack(Threat("L2", 0.4), steps=4),
        Attack(Threat("L1", 4.0), steps=5, larger_radii=True),
    ]
    stack = IngredientStack.from_folders(bench.ingredients)
    return Evaluator(stack, [images], batch_size=64, threads=1, attacks=attacks, seed=3)


def submit(bench: Bench, **fields: Any) -> str:
    defaults = {"search": COARSE, "adaptation_sets": [bench.add_set(24)], "held_out_fraction": 0, "seed": 3}
    return bench.submit(**{**defaults, **fields})


def test_a_union_job_scores_as_a_bare_loop_whatever_the_number_of_evaluators(ready: Bench) -> None:
    job = ready.run(submit(ready, objective=UNION), evaluators=2)
    result = result_of(job)
    assert result.metric == "robust_accuracy"
    assert list(result.metrics) == ["accuracy", *LABELS, "union"]
    points = list(ready.store.iter_points(job.id))
    evaluator = evaluator_of(ready, 24)
    for point in points:
        score = evaluator.evaluate(point.weights).sets[0]
        assert score.robust is not None
        assert point.score == score.robust.all(axis=0).mean()
        assert point.metrics["accuracy"] == score.accuracy
        assert [point.metrics[label] for label in LABELS] == score.robust.mean(axis=1).tolist()
        assert point.sets[0].robust["union"] == score.robust.all(axis=0).sum()
        assert point.backward > 0
    assert result.score == pytest.approx(max(point.score or 0 for point in points), abs=0.05)
    assert result.cost.forward_passes == sum(point.images for point in points)
    assert result.cost.backward_passes == sum(point.backward for point in points)
    assert result.cost.forward_passes <= result.cost.grid_forward_passes
    assert result.baselines is not None
    for baseline in (*result.baselines.ingredients.values(), result.baselines.softmax_ensemble):
        assert list(baseline.metrics) == ["accuracy", *LABELS, "union"]
        assert baseline.score == baseline.metrics["union"] <= min(baseline.metrics.values())


def test_cancelling_an_attack_ends_the_job_before_its_search_with_the_best_so_far(ready: Bench) -> None:
    threats = [{"norm": "Linf", "eps": 0.0001, "steps": 200}]
    job_id = submit(
        ready, objective={"metric": "robust_accuracy", "threats": threats}, adaptation_sets=[ready.add_set(60)]
    )
    process = ready.start(job_id)
    ready.await_points(job_id, 5)
    ready.store.cancel(job_id)
    job = ready.end(process, job_id)
    assert job.status is JobStatus.CANCELLED
    assert 5 <= job.progress.done < job.progress.total
    assert job.result is not None
    assert job.result.partial
    assert job.result.score == job.result.top[0].score


def test_seconds_end_the_search_while_a_soup_is_attacked_and_keep_the_best_so_far(ready: Bench) -> None:
    threats = [{"norm": "Linf", "eps": 0.0001, "steps": 200}]
    search = {"strategy": "random", "budget": {"evaluations": 500, "seconds": 4}}
    objective = {"metric": "robust_accuracy", "threats": threats}
    job = ready.run(submit(ready, objective=objective, search=search, adaptation_sets=[ready.add_set(60)]))
    result = result_of(job)
    assert result.ended_by == "seconds"
    assert not result.partial
    assert 0 < result.cost.evaluations == job.progress.done == job.progress.total < 480
    assert result.score == result.top[0].score == max(point.score or 0 for point in ready.store.iter_points(job.id))
    assert f"ended after {job.progress.done} soups, when its 4 seconds were over" in result.summary


def test_constraints_go_before_the_score_and_several_objectives_give_a_front(ready: Bench) -> None:
    linf = {"metric": "robust_accuracy", "threats": [{"norm": "Linf", "eps": 0.03, "steps": 3}]}
    objectives = [{"name": "clean"}, {"name": "linf"} | linf]
    job = ready.run(submit(ready, objectives=objectives, constraints=[linf | {"at_least": 0.2}]))
    result = result_of(job)
    points = list(ready.store.iter_points(job.id))
    holding = [point for point in points if point.score is not None and not point.violation]
    assert result.constraints_met is bool(holding)
    values = {tuple(point.objectives.values()) for point in holding or points}
    front = {one for one in values if not any(each != one and np.greater_equal(each, one).all() for each in values)}
    if holding:
        assert {tuple(soup.objectives.values()) for soup in result.front} == front
    assert len(result.front) == len({tuple(soup.objectives.values()) for soup in result.front})
    assert result.weights == result.front[0].weights == result.top[0].weights
    assert result.objectives == result.front[0].objectives
    assert [soup.objectives["clean"] for soup in result.front] == sorted(
        (soup.objectives["clean"] for soup in result.front), reverse=True
    )
    for soup in result.front:
        assert points[soup.point].weights == list(soup.weights.values())
    assert result.constraints[0].value == result.objectives["linf"]


def test_when_no_soup_holds_the_constraints_the_least_violating_wins_with_a_warning(ready: Bench) -> None:
    ready.add_pantry("compared", reference="standard")
    fields = {"pantry": "compared", "search": {"strategy": "uniform"}, "constraints": [{"at_least": 1.0}]}
    job = ready.run(submit(ready, objective={"metric": "robust_accuracy", "threats": THREATS[:1]}, **fields))
    result = result_of(job)
    assert result.constraints_met is False
    assert not result.constraints[0].holds
    assert "constraints_not_met" in {warning.code for warning in job.warnings}
    assert list(result.weights) == list(INGREDIENTS)
    assert result.baselines is not None
    assert result.baselines.reference is not None
    evaluator = evaluator_of(ready, 24)
    stored = PantryRegistry(ready.artifacts, ready.settings).open("compared")
    folder = stored.reference_folder
    assert folder is not None
    stack = IngredientStack.from_folders([folder, folder], ["standard", "same"])
    alone = Evaluator(stack, evaluator.sets, batch_size=64, threads=1).evaluate([1.0, 0.0])
    assert result.baselines.reference.metrics["accuracy"] == alone.sets[0].accuracy
    assert result.baselines.reference.score <= alone.sets[0].accuracy


def test_held_out_baselines_are_attacked_and_the_reference_is_one(ready: Bench) -> None:
    ready.add_pantry("compared", reference="standard")
    fields = {"pantry": "compared", "search": {"strategy": "uniform"}, "held_out_fraction": 0.5}
    job = ready.run(submit(ready, objective={"metric": "robust_accuracy", "threats": THREATS[:1]}, **fields))
    apart = result_of(job).held_out
    assert apart is not None
    assert apart.images == 12
    assert apart.uniform_soup is not None
    assert apart.uniform_soup.metrics["accuracy"] == apart.soup.metrics["accuracy"]
    assert apart.uniform_soup.nll == pytest.approx(apart.soup.nll, abs=1e-5)
    ensembles = (apart.logit_ensemble, apart.softmax_ensemble)
    for each in (*apart.ingredients.values(), apart.uniform_soup, *ensembles, apart.reference):
        assert each is not None
        assert list(each.metrics) == ["accuracy", LABELS[0]]
        assert each.score == each.metrics[LABELS[0]] <= each.metrics["accuracy"]


def test_any_soup_is_merged_on_demand_as_the_winner_was(ready: Bench) -> None:
    job = ready.run(submit(ready))
    best = result_of(job)
    points = list(ready.store.iter_points(job.id))
    own = next(point for point in points if point.weights == list(best.weights.values()))
    other = next(point for point in points if min(point.weights) < 0)
    for point in (own, other):
        merge_in_process(ready.settings, job.id, point.index)
    same, model = (ready.store.merged_model(job.id, point.index) for point in (own, other))
    assert same is not None
    assert same.sha256 == best.model.sha256
    assert model is not None
    path = ready.artifacts.open("models", model.sha256).path / "model.safetensors"
    assert path.stat().st_size == model.bytes
    assert reproduce(path, dict(zip(best.weights, ready.ingredients, strict=True))).same
    assert {model.sha256, best.model.sha256} <= ready.store.in_use()["models"]
    tensors = [load_file(folder / "model.safetensors") for folder in ready.ingredients]
    for name, merged in load_file(path).items():
        expected = sum(w * t[name].astype(np.float64) for w, t in zip(other.weights, tensors, strict=True))
        np.testing.assert_allclose(merged, expected, atol=1e-6)
    with pytest.raises(NotFound, match="no point 99999"):
        merge_in_process(ready.settings, job.id, 99999)
