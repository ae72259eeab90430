"""Jobs on sets in which some images have no label."""

import numpy as np
import pytest

from service.adaptation_sets.registry import SetRegistry
from service.adaptation_sets.stored import StoredSet
from service.pantries.registry import PantryRegistry
from service.schemas.job import Job, JobStatus
from service.schemas.result import Result
from tests.workers.evaluation.shipped import EXAMPLES, NAMES, shipped_stack
from tests.workers.jobs.conftest import Bench
from workers.jobs.reproduce import reproduce
from workers.soups.verify import verify_folder

pytestmark = pytest.mark.slow

GRID = {"strategy": "grid", "lower": 0, "upper": 1, "step": 0.5}
LABELLED, UNLABELLED = 40, 60


@pytest.fixture
def sets(bench: Bench) -> list[StoredSet]:
    """The shipped images of low contrast: some with a label and some without, and those with a label alone."""
    folders = {name: EXAMPLES / "pantries" / "fashion-resnet" / name for name in NAMES}
    PantryRegistry(bench.artifacts, bench.settings).add("fashion-resnet", folders, verify_folder)
    registry = SetRegistry(bench.artifacts, bench.settings)
    whole = registry.open(registry.add(EXAMPLES / "sets" / "fashion-low-contrast" / "adaptation.zip").id)
    images = np.stack([np.asarray(image) for image in whole.images()])
    names = shipped_stack("fashion-resnet").config["label_names"]
    labels = np.array([names.index(name) for (name,) in whole.accepted])
    order = np.random.default_rng(0).permutation(len(labels))
    known = order[:LABELLED]
    partly = np.full(len(labels), -1)
    partly[known] = labels[known]
    np.savez(bench.folder / "partly.npz", images=images, labels=partly)
    np.savez(bench.folder / "labelled.npz", images=images[np.sort(known)], labels=labels[np.sort(known)])
    return [registry.open(registry.add(bench.folder / f"{name}.npz").id) for name in ("partly", "labelled")]


def run(bench: Bench, stored: StoredSet, **fields: object) -> tuple[Job, Result]:
    body: dict[str, object] = {"adaptation_sets": [stored.digest], "search": GRID, "held_out_fraction": 0.0}
    job = bench.run(bench.submit("fashion-resnet", **(body | fields)))
    assert job.status is JobStatus.SUCCEEDED, job.error
    assert job.result is not None
    return job, job.result


def test_images_without_a_label_change_no_score_of_a_plain_soup(bench: Bench, sets: list[StoredSet]) -> None:
    job, partly = run(bench, sets[0], objective={"metric": "nll"})
    _, labelled = run(bench, sets[1], objective={"metric": "nll"})
    assert (partly.images, partly.cost.images) == (LABELLED, LABELLED + UNLABELLED)
    assert partly.weights == labelled.weights
    assert partly.score == pytest.approx(labelled.score, abs=1e-6)
    assert partly.cross_validated == labelled.cross_validated
    assert partly.per_set.keys() == {sets[0].digest}
    assert [len(point.sets) for point in bench.store.iter_points(job.id)] == [1] * partly.cost.evaluations
    assert f"the {LABELLED} images that chose it" in partly.summary


def test_they_give_their_statistics_and_the_last_layer_learns_from_the_others(
    bench: Bench, sets: list[StoredSet]
) -> None:
    refine = {"statistics": "adapted", "head": "refit"}
    _, partly = run(bench, sets[0], refine=refine)
    _, labelled = run(bench, sets[1], refine=refine)
    assert partly.refinement is not None
    assert partly.refinement.images == LABELLED + UNLABELLED
    assert partly.model.sha256 != labelled.model.sha256

    model = bench.artifacts.open("models", partly.model.sha256).path / "model.safetensors"
    folders = {name: EXAMPLES / "pantries" / "fashion-resnet" / name for name in NAMES}
    again = reproduce(model, folders, sets[:1])
    assert (again.same, again.refined) == (True, True)


def test_both_kinds_are_held_out(bench: Bench, sets: list[StoredSet]) -> None:
    _, result = run(bench, sets[0], held_out_fraction=0.25)
    assert result.held_out is not None
    assert (result.images, result.held_out.images) == (30, 10)
    assert result.cost.images == 75
    assert 0 < result.held_out.soup.score <= 1


def test_a_pruned_grid_suggests_labels_by_the_soups_that_it_reports(bench: Bench, sets: list[StoredSet]) -> None:
    """Which other soups see all images depends on timing."""
    _, result = run(bench, sets[0], objective={"metric": "nll"}, search=GRID | {"prune": True}, top_k=3)
    assert [sum(each.votes.values()) for each in result.label_next] == [3] * 10


def test_a_soup_is_chosen_without_any_label(bench: Bench, sets: list[StoredSet]) -> None:
    arrays = np.load(bench.folder / "partly.npz")
    np.savez(bench.folder / "bare.npz", images=arrays["images"])
    registry = SetRegistry(bench.artifacts, bench.settings)
    bare = registry.open(registry.add(bench.folder / "bare.npz").id)
    search = {"strategy": "bayes", "budget": {"evaluations": 16}}
    auto: dict[str, object] = {"preset": "auto", "search": search, "refine": {"statistics": "source"}}
    job, result = run(bench, bare, **auto)
    assert result.metric == "mutual_information"
    assert (result.images, result.nll, result.metrics, result.per_set) == (0, None, {}, {})
    assert (result.interval, result.cross_validated, result.paired_test) == (None, None, None)
    assert result.label_free is not None
    assert (result.label_free.labelled, result.label_free.unlabelled, result.label_free.weight) == (0, 100, 1)
    assert result.label_free.soup is not None
    assert result.label_free.ingredients is not None
    assert "chosen without labels" in result.summary

    points = list(bench.store.iter_points(job.id))
    assert len(points) == 16
    assert result.score == pytest.approx(max(point.score or 0 for point in points if not point.alarms), abs=1e-4)
    assert result.baselines is not None
    assert result.baselines.softmax_ensemble.score > 0
    assert result.score > max(each.score for each in result.baselines.ingredients.values())

    assert len(result.label_next) == 10
    assert len({each.image for each in result.label_next}) == 10
    assert all(0 <= int(each.image) < 100 and each.set == bare.digest for each in result.label_next)
    assert all(sum(each.votes.values()) <= 16 for each in result.label_next)
    gains = [each.information for each in result.label_next]
    assert gains == sorted(gains)
    is_doubted = any(warning.code == "choice_not_trusted" for warning in job.warnings)
    assert is_doubted == bool(result.label_free.doubts) == ("Do not trust" in result.summary)

    again, same = run(bench, bare, **auto)
    assert (same.weights, same.label_next) == (result.weights, result.label_next)
    assert same.model.sha256 == result.model.sha256
    assert same.cost.reused_points > 0

    _, adapted = run(bench, bare, **(auto | {"refine": {"statistics": "auto"}}))
    assert adapted.refinement is not None
    assert (adapted.refinement.statistics, adapted.refinement.head) == ("adapted", "keep")
    assert again.id != job.id


def test_few_labels_count_beside_mutual_information(bench: Bench, sets: list[StoredSet]) -> None:
    _, result = run(bench, sets[0], preset="auto", refine={})
    assert result.metric == "mutual_information"
    assert result.label_free is not None
    assert (result.label_free.labelled, result.label_free.unlabelled) == (LABELLED, UNLABELLED)
    assert result.label_free.weight == pytest.approx(1 / 3)
    assert result.nll is not None
    assert result.score > -result.nll
    assert result.per_set[sets[0].digest].score == pytest.approx(-result.nll, abs=1e-9)
    assert result.metrics["accuracy"] > 0.5
    assert f"chosen by {LABELLED} images with a label and {UNLABELLED} without" in result.summary
