from dataclasses import replace
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search.evaluation import EvaluationRequest, Passes
from tests.search.outcomes import assert_same
from tests.workers.evaluation.images import CLASSES, random_set, vit_stack
from tests.workers.evaluation.stopping import StopAfter
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.evaluation.baselines import evaluate_baselines
from workers.evaluation.errors import EvaluationMemoryError
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.folder import evaluate_model, load_folder
from workers.evaluation.forward import ForwardPass
from workers.evaluation.preprocess import DataConfig, Normaliser
from workers.evaluation.sets import EncodedSet
from workers.evaluation.streams import Streams
from workers.soups.files import save_model, soup_config
from workers.soups.merge import merge
from workers.soups.resident import Precision, ResidentSoup
from workers.soups.stack import IngredientStack

WEIGHTS = [0.6, 0.8, -0.4]


@pytest.fixture(scope="module")
def sets() -> list[EncodedSet]:
    return [random_set(50), random_set(21, seed=5)]


@pytest.fixture(scope="module")
def evaluator(stack: IngredientStack, sets: list[EncodedSet]) -> Evaluator:
    return Evaluator(stack, sets, batch_size=16)


def test_outcomes_equal_a_bare_loop_over_the_images(evaluator: Evaluator, sets: list[EncodedSet]) -> None:
    outcome = evaluator.evaluate(WEIGHTS, keep_logits=True)
    normalise = Normaliser(DataConfig.of_model(evaluator.soup.model), "cpu")
    for source, result in zip(sets, outcome.sets, strict=True):
        with torch.inference_mode():
            logits = evaluator.soup.model(normalise(torch.from_numpy(source.images)))
        labels = torch.tensor([label for (label,) in source.labels])
        np.testing.assert_array_equal(result.prediction, logits.argmax(dim=1).numpy())
        np.testing.assert_array_equal(result.right, (logits.argmax(dim=1) == labels).numpy())
        assert result.accuracy == result.right.mean()
        assert result.nll == pytest.approx(nn.functional.cross_entropy(logits, labels).item(), rel=1e-5)
        losses = nn.functional.cross_entropy(logits, labels, reduction="none")
        assert result.log_probability is not None
        np.testing.assert_allclose(result.log_probability, -losses.numpy(), rtol=1e-4, atol=1e-5)
        assert result.logits is not None
        np.testing.assert_allclose(result.logits, logits.numpy(), rtol=1e-4, atol=1e-5)
        assert (result.seen, result.total, result.robust) == (len(source), len(source), None)
    assert outcome.status == "complete"
    assert outcome.passes == Passes(71)
    assert outcome.seconds > 0
    assert_same(evaluator.evaluate(WEIGHTS), outcome.without_logits())


def test_a_written_file_is_evaluated_as_the_resident_soup(
    tmp_path: Path, evaluator: Evaluator, sets: list[EncodedSet], stack: IngredientStack
) -> None:
    save_model(tmp_path, merge(stack, WEIGHTS), soup_config(stack.config), {})
    expected = evaluator.evaluate(WEIGHTS)
    done: list[int] = []
    stored = [evaluate_model(load_folder(tmp_path), each, batch_size=16, on_batch=done.append) for each in sets]
    assert [each.right.tolist() for each in stored] == [each.right.tolist() for each in expected.sets]
    assert [each.nll for each in stored] == pytest.approx([each.nll for each in expected.sets], rel=1e-5)
    assert [None if each.logits is None else each.logits.shape for each in stored] == [(50, CLASSES), (21, CLASSES)]
    assert done == [16, 32, 48, 50, 16, 21]


def test_results_do_not_depend_on_history_or_on_a_shared_model(
    evaluator: Evaluator, sets: list[EncodedSet], stack: IngredientStack
) -> None:
    first = evaluator.evaluate(WEIGHTS)
    evaluator.evaluate([1.4, -0.2, -0.2])
    other = Evaluator(stack, sets, batch_size=16, soup=evaluator.soup)
    for again in (evaluator.evaluate(WEIGHTS), other.evaluate(WEIGHTS)):
        assert_same(again, first)


def test_a_thread_for_each_batch_changes_no_bit_and_more_hardly_any(stack: IngredientStack) -> None:
    source = random_set(150)
    before = torch.get_num_threads()
    logits = []
    try:
        for threads, count in ((1, 1), (2, 2), (3, 3), (9, 4)):
            evaluator = Evaluator(stack, [source], threads=threads)
            assert evaluator.streams.count == count
            logits.append(evaluator.evaluate(WEIGHTS, keep_logits=True).sets[0].logits)
    finally:
        torch.set_num_threads(before)
    one, *others, many = logits
    assert one is not None
    assert many is not None
    for other in others:
        np.testing.assert_array_equal(other, one)
    np.testing.assert_allclose(many, one, rtol=1e-4, atol=1e-6)


def test_streams_hold_no_more_images_than_a_batch(stack: IngredientStack) -> None:
    assert Evaluator(stack, [random_set(150)], batch_size=64, threads=2).streams.count == 1


@pytest.mark.parametrize(
    ("batch_size", "stream_batch_size", "sizes"),
    [(150, 150, [150]), (150, 64, [38, 38, 37, 37]), (100, 64, [50, 50, 50]), (64, 150, [64, 64, 22])],
)
def test_the_model_sees_batches_of_the_sizes_asked_for(
    stack: IngredientStack, batch_size: int, stream_batch_size: int, sizes: list[int]
) -> None:
    evaluator = Evaluator(stack, [random_set(150)], batch_size=batch_size, stream_batch_size=stream_batch_size)
    seen: list[int] = []
    hook = evaluator.soup.model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    evaluator.evaluate(WEIGHTS)
    hook.remove()
    assert sorted(seen, reverse=True) == sizes


@pytest.mark.parametrize(
    ("threads", "precision", "sizes"),
    [(1, "float32", [128, 128, 44]), (1, "bfloat16", [256, 44]), (2, "float32", [64, 64, 64, 64, 44])],
)
def test_one_thread_scores_larger_batches_than_each_of_several(
    stack: IngredientStack, threads: int, precision: Precision, sizes: list[int]
) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []
    try:
        evaluator = Evaluator(stack, [random_set(300)], precision=precision, threads=threads)
        evaluator.soup.model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
        evaluator.evaluate(WEIGHTS)
    finally:
        torch.set_num_threads(before)
    assert sorted(seen, reverse=True) == sizes


@pytest.mark.parametrize("sizes", [{"batch_size": 0}, {"stream_batch_size": 0}])
def test_batches_without_images_are_refused(stack: IngredientStack, sizes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="1 or more"):
        Evaluator(stack, [random_set(2)], **sizes)


def test_a_soup_that_ended_early_does_not_touch_the_next(stack: IngredientStack) -> None:
    before = torch.get_num_threads()
    try:
        streams = Evaluator(stack, [random_set(300)], threads=2)
        expected = streams.evaluate(WEIGHTS, keep_logits=True)
        for end in range(5):
            early = streams.evaluate([1.4, -0.2, -0.2], stop=StopAfter(end))
            assert early.status == "stopped"
            assert (early.sets[0].seen, early.passes) == (64 * end, Passes(64 * end))
            assert_same(streams.evaluate(WEIGHTS, keep_logits=True), expected)
    finally:
        torch.set_num_threads(before)


def test_an_infinite_soup_is_marked_and_wrong(tmp_path: Path) -> None:
    stack = vit_stack(tmp_path)
    head = next(slot for slot in stack.layout.slots if "head.bias" in slot.names)
    stack.weights[0, head.offset] = 3e38
    outcome = Evaluator(stack, [random_set(10)], batch_size=4).evaluate([1.4, -0.4, 0.0])
    assert outcome.status == "not_finite"
    assert outcome.is_whole
    assert not outcome.sets[0].right.any()
    assert (outcome.sets[0].prediction == -1).all()
    assert np.all(outcome.sets[0].log_probability == -np.inf)
    assert outcome.sets[0].nll == float("inf")


def test_stop_ends_a_soup_between_batches(evaluator: Evaluator) -> None:
    outcome = evaluator.evaluate(WEIGHTS, stop=StopAfter(2))
    assert outcome.status == "stopped"
    assert not outcome.is_whole
    assert [(each.seen, each.total) for each in outcome.sets] == [(32, 50), (0, 21)]


def test_whole_outcomes_are_yielded_until_stopped(evaluator: Evaluator) -> None:
    soups = [tuple(WEIGHTS), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)]
    requests = [EvaluationRequest(soup) for soup in soups]
    for soup, found in zip(soups, evaluator.answers(requests), strict=True):
        assert_same(found, evaluator.evaluate(soup))
    batches = len(evaluator.images)
    stop = StopAfter(batches + 1)
    [first] = evaluator.answers(requests, stop=stop)
    assert stop.asked == batches + 2
    assert_same(first, evaluator.evaluate(WEIGHTS))


def test_bfloat16_runs_forward_passes_only(
    stack: IngredientStack, sets: list[EncodedSet], evaluator: Evaluator
) -> None:
    [found, _] = Evaluator(stack, sets, precision="bfloat16", batch_size=16).evaluate(WEIGHTS, keep_logits=True).sets
    exact = evaluator.evaluate(WEIGHTS)
    assert found.logits is not None
    assert found.logits.dtype == np.float32
    assert found.nll == pytest.approx(exact.sets[0].nll, rel=0.05)
    assert found.nll != exact.sets[0].nll


def test_sets_that_do_not_fit_are_refused(stack: IngredientStack) -> None:
    source = random_set(4)
    other_size = EncodedSet(source.images[:, :, :20], source.accepted, source.space)
    other_classes = EncodedSet.of_classes(source.images, [0] * 4, CLASSES + 1)
    for wrong, message in ((other_size, "the model takes"), (other_classes, "the model has 5")):
        with pytest.raises(ValueError, match=message):
            Evaluator(stack, [wrong])
    with pytest.raises(ValueError, match="4 images have 3 labels"):
        EncodedSet(source.images, source.labels[:3], source.space)


def test_sets_travel_as_arrays() -> None:
    labelled = random_set(4)
    for source in (labelled, replace(labelled, accepted=None)):
        again = EncodedSet.from_arrays(source.arrays())
        assert again.images is source.images
        assert (again.accepted, again.space.columns) == (source.accepted, source.space.columns)


def test_sets_without_labels_give_predictions_alone(
    tmp_path: Path, stack: IngredientStack, sets: list[EncodedSet], evaluator: Evaluator
) -> None:
    bare = replace(sets[0], accepted=None)
    with pytest.raises(ValueError, match="no labels"):
        bare.labels  # noqa: B018
    expected = evaluator.evaluate(WEIGHTS, keep_logits=True)
    found = Evaluator(stack, [bare, sets[1]], batch_size=16).evaluate(WEIGHTS, keep_logits=True)
    unlabelled = replace(expected.sets[0], correct=None, log_probability=None)
    assert_same(found, replace(expected, sets=(unlabelled, expected.sets[1])))
    for read in (lambda: found.sets[0].right, lambda: found.sets[0].nll):
        with pytest.raises(ValueError, match="without labels"):
            read()
    with pytest.raises(ValueError, match="exactly one right class"):
        Evaluator(stack, [bare], attacks=[Attack(Threat("Linf", 0.1), steps=1)])

    baselines = evaluate_baselines(LocalExecutor(Evaluator(stack, [bare])), 3, [bare], attacked=False)
    for outcome in (*baselines.ingredients, baselines.uniform_soup, baselines.logit_ensemble):
        assert outcome is not None
        assert outcome.status == "complete"
        assert (outcome.sets[0].seen, outcome.sets[0].correct, outcome.sets[0].log_probability) == (50, None, None)
    save_model(tmp_path, merge(stack, WEIGHTS), soup_config(stack.config), {})
    stored = evaluate_model(load_folder(tmp_path), bare, batch_size=16)
    np.testing.assert_array_equal(stored.prediction, expected.sets[0].prediction)
    assert (stored.correct, stored.log_probability) == (None, None)


class Hungry(nn.Module):
    """Asks for an impossible tensor when more than ``limit`` images come at once."""

    def __init__(self, limit: int) -> None:
        super().__init__()
        self.limit = limit
        self.sizes: list[int] = []

    def forward(self, images: Tensor) -> Tensor:
        self.sizes.append(len(images))
        if len(images) > self.limit:
            return torch.empty(2**60)
        return images.flatten(1)[:, :3]


def test_batches_halve_until_they_fit() -> None:
    model = Hungry(3)
    forward = ForwardPass(model, torch.device("cpu"), "float32", 16)
    images = torch.arange(40.0).view(10, 1, 2, 2)
    assert torch.equal(forward(images), images.flatten(1)[:, :3])
    assert model.sizes == [10, 5, 2, 2, 2, 2, 2]
    assert forward.part_size == 2


def test_threads_that_run_out_of_memory_together_halve_once() -> None:
    failing = Barrier(2)

    class Full(nn.Module):
        def forward(self, images: Tensor) -> Tensor:
            if len(images) > 1:
                failing.wait(timeout=30)
                return torch.empty(2**60)
            return images.flatten(1)[:, :3]

    forward = ForwardPass(Full(), torch.device("cpu"), "float32", 2)
    parts = list(Streams(2, 2).map(forward, torch.split(torch.zeros(4, 1, 2, 2), 2)))
    assert [part.shape for part in parts] == [(2, 3), (2, 3)]
    assert forward.part_size == 1


def test_a_single_image_that_does_not_fit_says_what_to_change() -> None:
    forward = ForwardPass(Hungry(0), torch.device("cpu"), "float32", 4)
    with pytest.raises(EvaluationMemoryError, match="bfloat16"):
        forward(torch.zeros(4, 1, 2, 2))


def test_other_failures_are_not_taken_for_memory() -> None:
    forward = ForwardPass(nn.Linear(3, 2), torch.device("cpu"), "float32", 4)
    with pytest.raises(RuntimeError, match="shapes cannot be multiplied"):
        forward(torch.zeros(4, 2))


def test_a_resident_soup_knows_its_device(stack: IngredientStack) -> None:
    assert ResidentSoup(stack).device == torch.device("cpu")
