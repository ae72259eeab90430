"""Jobs whose best soup may get weights of its own for each layer."""

from pathlib import Path

import numpy as np
import pytest

from search.layers import LAYER_KINDS
from service.adaptation_sets.registry import SetRegistry
from service.adaptation_sets.stored import StoredSet
from service.pantries.registry import PantryRegistry
from service.schemas.job import Job, JobStatus
from service.schemas.result import LayerWiseSoup, Result
from tests.waiting import wait_until
from tests.workers.evaluation.shipped import EXAMPLES, NAMES, shipped_set, shipped_stack
from tests.workers.jobs.conftest import PATIENCE, Bench
from workers.evaluation.folder import evaluate_model, load_folder
from workers.jobs.manifest import read_manifest
from workers.jobs.reproduce import reproduce
from workers.soups.files import load_tensors
from workers.soups.verify import verify_folder

pytestmark = pytest.mark.slow

PANTRY, SHIFT, IMAGES = "fashion-vit", "fashion-gaussian-noise", 50
FOLDERS = {name: EXAMPLES / "pantries" / PANTRY / name for name in NAMES}
FIELDS = {"search": {"strategy": "gradient"}, "objective": {"metric": "nll"}, "refine": {"layers": "auto"}}


@pytest.fixture
def stored(bench: Bench) -> StoredSet:
    """Some of the shipped noisy images, and the pantry beside it."""
    PantryRegistry(bench.artifacts, bench.settings).add(PANTRY, FOLDERS, verify_folder)
    registry = SetRegistry(bench.artifacts, bench.settings)
    whole = registry.open(registry.add(EXAMPLES / "sets" / SHIFT / "adaptation.zip").id)
    names = shipped_stack(PANTRY).config["label_names"]
    labels = np.array([names.index(name) for (name,) in whole.accepted])
    images = np.stack([np.asarray(image) for image in whole.images()])
    kept = np.sort(np.random.default_rng(0).permutation(len(labels))[:IMAGES])
    np.savez(bench.folder / "some.npz", images=images[kept], labels=labels[kept])
    return registry.open(registry.add(bench.folder / "some.npz").id)


def submit(bench: Bench, stored: StoredSet, **fields: object) -> str:
    return bench.submit(PANTRY, adaptation_sets=[stored.digest], **(FIELDS | {"held_out_fraction": 0.0} | fields))


def result_of(job: Job) -> Result:
    assert job.result is not None, job.error
    return job.result


def layers_of(result: Result) -> LayerWiseSoup:
    assert result.layers is not None
    return result.layers


def test_the_delivered_soup_has_other_weights_in_every_layer_and_can_be_made_again(
    bench: Bench, stored: StoredSet, tmp_path: Path
) -> None:
    plain = result_of(bench.run(submit(bench, stored, refine={})))
    result = result_of(bench.run(submit(bench, stored)))
    layers = layers_of(result)

    assert plain.layers is None
    assert result.weights == plain.weights
    assert layers.kind == "blocks"
    assert [step.kind for step in layers.steps] == list(LAYER_KINDS)
    assert layers.images == IMAGES
    stack = shipped_stack(PANTRY)
    assert len(layers.weights) == stack.layout.layers
    assert all(sum(each.values()) == pytest.approx(1) for each in layers.weights)
    assert result.nll == pytest.approx(layers.steps[-1].nll)
    assert plain.nll is not None
    assert result.nll is not None
    assert result.score == -result.nll > plain.score
    assert "Each of its layers has weights of its own" in result.summary

    scores = []
    for each in (plain, result):
        folder = tmp_path / each.model.sha256
        folder.mkdir()
        for name in ("config.json", "model.safetensors"):
            (folder / name).write_bytes(bench.artifacts.read("models", each.model.sha256, name))
        scores.append(evaluate_model(load_folder(folder), shipped_set(stack, SHIFT, "held_out")))
    assert scores[1].nll < scores[0].nll - 0.1
    assert scores[1].accuracy > scores[0].accuracy

    tensors = [load_tensors(folder) for folder in FOLDERS.values()]
    merged = load_tensors(tmp_path / result.model.sha256)
    for layer, name in ((0, "cls_token"), (-1, "head.weight")):
        weights = layers.weights[layer].values()
        expected = sum(w * each[name].double() for w, each in zip(weights, tensors, strict=True))
        assert float((merged[name].double() - expected).abs().max()) < 1e-6

    model = tmp_path / result.model.sha256 / "model.safetensors"
    assert read_manifest(model).layers == [list(each.values()) for each in layers.weights]
    again = reproduce(model, FOLDERS)
    assert (again.same, again.refined) == (True, False)


def test_cancelling_while_layers_are_fitted_keeps_the_plain_soup(bench: Bench, stored: StoredSet) -> None:
    job_id = submit(bench, stored)
    child = bench.start(job_id)
    wait_until(lambda: bench.store.get(job_id).status is JobStatus.FINALIZING, timeout=PATIENCE)
    bench.store.cancel(job_id)
    job = bench.end(child, job_id)
    assert job.status is JobStatus.CANCELLED
    assert result_of(job).layers is None
    assert read_manifest(bench.artifacts.open("models", result_of(job).model.sha256).path / "model.safetensors")


def test_soups_without_better_layers_stay_as_they_are(bench: Bench) -> None:
    """Ingredients of noise, whose layers have nothing to tell."""
    bench.add_pantry()
    plain = result_of(bench.run(bench.submit()))
    result = result_of(bench.run(bench.submit(refine={"layers": "auto"})))
    assert (layers_of(result).kind, layers_of(result).weights) == ("one", [])
    assert result.score == plain.score
    assert "are not used" in result.summary
