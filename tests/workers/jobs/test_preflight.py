"""Warnings before a search."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.budget import Budget
from search.evaluation import Outcome, Passes, SetOutcome
from service.adaptation_sets.registry import SetRegistry
from service.errors import InvalidRequest
from service.job_warnings import warn_of_images, warn_of_long_search
from service.jobs.store import JobStore
from service.pantries.registry import PantryRegistry
from service.schemas.job import JobWarning
from service.settings import Settings
from tests.service.artifacts.deletions import allowed
from tests.workers.jobs.conftest import INGREDIENTS, Bench, write_images
from workers.evaluation.baselines import BaselineOutcomes
from workers.jobs.material import Material, scope_of
from workers.jobs.preflight import selecting_images, warn_of_chance, warn_of_collapse, warn_of_time

PAIRS = [(0, 1), (0, 2), (1, 2)]


@pytest.fixture
def store_bench(settings: Settings, job_store: JobStore, tmp_path: Path) -> Bench:
    bench = Bench(settings, job_store, tmp_path)
    bench.add_pantry()
    return bench


def material(bench: Bench, images: int = 60, **fields: Any) -> Material:
    job_id = bench.submit(adaptation_sets=[bench.add_set(images)], **fields)
    return Material(bench.store.get(job_id).request, bench.settings)


def image_warnings(job: Material) -> list[JobWarning]:
    return warn_of_images(job.request, selecting_images(job))


def model(correct: int, total: int = 42) -> Outcome:
    return Outcome("complete", (SetOutcome(total, np.zeros(total, dtype=np.int32), np.arange(total) < correct),))


@pytest.mark.parametrize(
    ("images", "codes"),
    [(4, ["few_images"]), (3, ["fewer_images_than_classes", "few_images"]), (60, ["few_images"]), (100, [])],
)
def test_few_images_are_told(store_bench: Bench, images: int, codes: list[str]) -> None:
    assert [warning.code for warning in image_warnings(material(store_bench, images))] == codes


@pytest.mark.parametrize(
    ("budget", "hours"),
    [
        (None, "will take about 2.0 hours"),
        (Budget(seconds=3599), None),
        (Budget(seconds=5400), "will take about 1.5 hours"),
        (Budget(forward_passes=12_000), "will take about 1.3 hours"),
        (Budget(forward_passes=8_000), None),
    ],
)
def test_a_long_search_is_told_unless_its_budget_ends_it_sooner(
    store_bench: Bench, budget: Budget | None, hours: str | None
) -> None:
    threats = {"metric": "robust_accuracy", "threats": [{"norm": "Linf", "eps": 0.1}]}
    attacked, plain = material(store_bench, objective=threats), material(store_bench)
    outcome = replace(model(20), passes=Passes(100), seconds=80.0)
    baselines = BaselineOutcomes((outcome,) * 3, outcome, outcome, outcome)
    warnings = warn_of_time(attacked, baselines, 180, 2, budget)
    assert [warning.code for warning in warnings] == ([] if hours is None else ["long_search"])
    assert all((hours or "") in warning.message for warning in warnings)
    told = [] if hours is None else warn_of_long_search(3600 * float(hours.split()[-2]))
    assert warnings == told
    assert warn_of_time(plain, baselines, 10**6, 1, budget) == []


def test_few_images_without_a_label_are_told_where_they_choose(store_bench: Bench, tmp_path: Path) -> None:
    arrays = np.load(write_images(tmp_path / "all.npz", 80))
    labels = np.where(np.arange(80) % 2, arrays["labels"], -1)
    np.savez(tmp_path / "half.npz", images=arrays["images"], labels=labels)
    stored = SetRegistry(store_bench.artifacts, store_bench.settings).add(tmp_path / "half.npz").id

    def warned(metric: str) -> list[str]:
        job_id = store_bench.submit(adaptation_sets=[stored], objective={"metric": metric}, held_out_fraction=0)
        found = Material(store_bench.store.get(job_id).request, store_bench.settings)
        assert [len(each.split.selection) for each in found.sets] == [40, 40]
        return [warning.message for warning in warn_of_images(found.request, selecting_images(found))]

    assert [message[:16] for message in warned("nll")] == ["40 images select"]
    assert [message[:17] for message in warned("auto")] == ["40 images without", "40 images select "]


def test_few_images_of_a_constraint_do_not_select_the_soup(store_bench: Bench) -> None:
    scored, bound = store_bench.add_set(100), store_bench.add_set(3)
    on = {"objective": {"adaptation_sets": [scored]}, "adaptation_sets": [scored, bound]}
    constraint = {"at_least": 0.5, "adaptation_sets": [bound]}

    def warned(**fields: Any) -> list[str]:
        echo = store_bench.store.get(store_bench.submit(held_out_fraction=0, **fields)).request
        return [warning.message for warning in image_warnings(Material(echo, store_bench.settings))]

    (message,) = warned(**on, constraints=[constraint])
    assert message.startswith("3 images tell whether a constraint holds")
    assert warned(**on) == []
    few = warned(adaptation_sets=[scored, bound], constraints=[constraint])
    assert [message[:15] for message in few] == ["3 images select"] * 2


def test_an_ingredient_at_chance_level_is_named(store_bench: Bench) -> None:
    warnings = warn_of_chance(material(store_bench), [model(40), model(11), model(0)])
    assert [warning.code for warning in warnings] == ["chance_level_ingredient"] * 2
    assert all(name in warning.message for name, warning in zip(INGREDIENTS[1:], warnings, strict=True))


def test_a_collapsed_midpoint_names_its_ends() -> None:
    ends, midpoints = [model(40), model(36), model(30)], [model(38), model(10), model(16)]
    (warning,) = warn_of_collapse(INGREDIENTS, PAIRS, ends, midpoints)
    assert warning.code == "collapsed_midpoint"
    assert "'alpha'" in warning.message
    assert "'gamma'" in warning.message


def test_the_scope_covers_what_an_outcome_depends_on_and_nothing_that_only_reads_it(store_bench: Bench) -> None:
    same = [
        scope_of(material(store_bench), ["cpu"], 64),
        scope_of(material(store_bench, top_k=9), ["cpu"], 64),
        scope_of(material(store_bench, objective={"over_sets": "worst"}), ["cpu"], 64),
        scope_of(material(store_bench, constraints=[{"at_least": 0.5}]), ["cpu"], 64),
    ]
    threat = {"norm": "Linf", "eps": 0.1}
    others = [
        scope_of(material(store_bench, 100), ["cpu"], 64),
        scope_of(material(store_bench, held_out_fraction=0.5), ["cpu"], 64),
        scope_of(material(store_bench, seed=1), ["cpu"], 64),
        scope_of(material(store_bench, objective={"metric": "robust_accuracy", "threats": [threat]}), ["cpu"], 64),
        scope_of(material(store_bench, precision="bfloat16"), ["cpu"], 64),
        scope_of(material(store_bench), ["cuda"], 64),
        scope_of(material(store_bench), ["cpu"], 32),
    ]
    assert len(set(same)) == 1
    assert len({*others, same[0]}) == len(others) + 1


def test_a_replaced_pantry_is_refused(store_bench: Bench) -> None:
    job_id = store_bench.submit()
    PantryRegistry(store_bench.artifacts, store_bench.settings).delete("tiny", allowed)
    for folder in (store_bench.folder / "tiny").iterdir():
        folder.rename(folder.with_name(f"old-{folder.name}"))
    store_bench.add_pantry(perturbation=0.2)
    with pytest.raises(InvalidRequest) as caught:
        Material(store_bench.store.get(job_id).request, store_bench.settings)
    assert caught.value.code == "pantry_changed"
