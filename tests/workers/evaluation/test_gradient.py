"""Gradients of likelihoods with respect to soup weights."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from search.evaluation import EvaluationRequest, LayerWeights, Outcome, Passes, Refinement, Weights, joined
from tests.search.outcomes import assert_same
from tests.workers.evaluation.images import CLASSES, random_images, random_set, resnet_stack, vit_stack
from tests.workers.evaluation.shipped import shipped_set, shipped_stack
from tests.workers.evaluation.stopping import StopAfter
from tests.workers.soups.folders import RESNET, config_of, write_ingredients
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.labels import LabelSpace
from workers.evaluation.preprocess import DataConfig, Normaliser
from workers.evaluation.sets import EncodedSet
from workers.soups.gradient import WeightGradient
from workers.soups.merge import FLOOR_FACTOR
from workers.soups.model import build_model
from workers.soups.resident import ResidentSoup
from workers.soups.stack import IngredientStack

WEIGHTS = (0.6, 0.8, -0.4)
SEVERAL = tuple(tuple(sorted({index % 3, (index + 1) % 3})) for index in range(24))
MAPPED = LabelSpace([(0, 3), (1,), (4, 2)], CLASSES)


def by_autograd(evaluator: Evaluator, weights: NDArray[np.float64]) -> NDArray[np.float64]:
    """The gradient of the sum of log-probabilities, (layers, n), through a soup that torch itself puts together.

    BatchNorm is written out, so that its running statistics are differentiated too; all in float64.
    """
    stack = evaluator.soup.stack
    vectors = torch.tensor(weights, requires_grad=True)
    rows = torch.from_numpy(stack.weights.copy()).double()
    tensors: dict[str, torch.Tensor] = {}
    for slot in stack.layout.slots:
        parts = torch.stack([slot.read(row) for row in rows])
        soup = torch.tensordot(vectors[slot.layer], parts, 1)
        if slot.is_running_variance:
            soup = torch.where(soup > 0, soup, FLOOR_FACTOR * parts.amin(dim=0))
        tensors |= dict.fromkeys(slot.names, soup)
    model = build_model(stack.config).double()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.forward = written_out(module)  # type: ignore[method-assign]
    normalise = Normaliser(DataConfig.of_model(model), "cpu")
    total = torch.zeros((), dtype=torch.float64)
    for source in evaluator.sets:
        inputs = normalise(torch.from_numpy(source.images)).double()
        logits = torch.func.functional_call(model, tensors, (inputs,))
        total = total + source.space.log_likelihood(logits, source.space.mask(source.labels)).sum()
    (gradient,) = torch.autograd.grad(total, vectors)
    found: NDArray[np.float64] = gradient.numpy()
    return found


def written_out(module: nn.BatchNorm2d) -> Any:
    def forward(inputs: torch.Tensor) -> torch.Tensor:
        mean, variance, scale, shift = (
            each.view(1, -1, 1, 1)
            for each in (module.running_mean, module.running_var, module.weight, module.bias)
            if each is not None
        )
        return (inputs - mean) / (variance + module.eps).sqrt() * scale + shift

    return forward


def total_gradient(outcome: Outcome) -> NDArray[np.float64]:
    return np.asarray(sum(each.gradient for each in outcome.sets))


def layered(weights: Weights, layers: int) -> LayerWeights:
    """Weights that differ from layer to layer, and sum to 1 in each."""
    shifts = np.linspace(-0.1, 0.2, layers)
    return LayerWeights(tuple((weights[0] + shift, weights[1] - shift, *weights[2:]) for shift in shifts.tolist()))


@pytest.fixture(scope="module")
def evaluator(stack: IngredientStack) -> Evaluator:
    images = random_images(24, seed=3)
    sets = [
        random_set(33),
        EncodedSet(images, SEVERAL, LabelSpace.of_classes(CLASSES)),
        EncodedSet(images, SEVERAL, MAPPED),
    ]
    return Evaluator(stack, sets, batch_size=16)


def test_it_is_what_autograd_finds_through_the_whole_soup(evaluator: Evaluator) -> None:
    layers = evaluator.soup.stack.layout.layers
    outcome = evaluator.answer(EvaluationRequest(WEIGHTS, gradient=True))
    expected = by_autograd(evaluator, np.array([WEIGHTS] * layers))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(total_gradient(outcome), expected.sum(axis=0)[None], atol=1e-4 * scale)
    assert [None if each.gradients is None else each.gradients.shape for each in outcome.sets] == [
        (3, 1, 3),
        (2, 1, 3),
        (2, 1, 3),
    ]
    weights = layered(WEIGHTS, layers)
    found = total_gradient(evaluator.answer(EvaluationRequest(weights, gradient=True)))
    assert found.shape == (layers, 3)
    np.testing.assert_allclose(found, by_autograd(evaluator, np.array(weights.vectors)), atol=1e-4 * scale)


def test_everything_else_is_as_without_it(evaluator: Evaluator) -> None:
    bare = evaluator.evaluate(WEIGHTS, keep_logits=True)
    found = evaluator.answer(EvaluationRequest(WEIGHTS, keep_logits=True, gradient=True))
    assert found.passes == Passes(81, 81)
    for ours, theirs in zip(found.sets, bare.sets, strict=True):
        assert ours.logits is not None
        assert theirs.logits is not None
        np.testing.assert_allclose(ours.logits, theirs.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_array_equal(ours.prediction, theirs.prediction)
        with pytest.raises(ValueError, match="ask for it"):
            theirs.gradient  # noqa: B018
    assert not any(parameter.requires_grad for parameter in evaluator.soup.model.parameters())
    assert_same(evaluator.evaluate(WEIGHTS, keep_logits=True), bare)


def test_equal_vectors_for_all_layers_make_the_same_soup(evaluator: Evaluator) -> None:
    layers = evaluator.soup.stack.layout.layers
    whole = evaluator.answer(EvaluationRequest(WEIGHTS, keep_logits=True, gradient=True))
    same = evaluator.answer(EvaluationRequest(LayerWeights((WEIGHTS,) * layers), keep_logits=True, gradient=True))
    for ours, theirs in zip(same.sets, whole.sets, strict=True):
        assert ours.logits is not None
        assert theirs.logits is not None
        np.testing.assert_allclose(ours.logits, theirs.logits, rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(ours.gradient.sum(axis=0), theirs.gradient[0], rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("cuts", [[0, 7], [0, 1, 7], [0, 3, 4, 7], [0, 1, 2, 3, 4, 5, 6, 7]])
def test_any_cutting_gives_the_gradient_of_the_whole_bit_for_bit(evaluator: Evaluator, cuts: list[int]) -> None:
    assert evaluator.blocks == 7
    request = EvaluationRequest(WEIGHTS, gradient=True)
    parts = [evaluator.answer(replace(request, blocks=(cuts[at], cuts[at + 1]))) for at in range(len(cuts) - 1)]
    assert_same(joined(parts), evaluator.answer(request))


def test_streams_change_no_bit(stack: IngredientStack) -> None:
    before = torch.get_num_threads()
    found = []
    try:
        for threads in (1, 2):
            evaluator = Evaluator(stack, [random_set(150)], threads=threads, stream_batch_size=64)
            assert evaluator.streams.count == threads
            found.append(evaluator.answer(EvaluationRequest(WEIGHTS, gradient=True)))
    finally:
        torch.set_num_threads(before)
    assert_same(*found)


def test_smaller_parts_give_the_same_gradient_once_memory_ran_out(
    evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = EvaluationRequest(WEIGHTS, gradient=True)
    expected = total_gradient(evaluator.answer(request))
    model = evaluator.soup.model

    def hungry(_: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > 5:
            torch.empty(2**60)

    fresh = Evaluator(evaluator.soup.stack, evaluator.sets, batch_size=16, soup=evaluator.soup)
    hook = model.register_forward_pre_hook(hungry)
    try:
        found = total_gradient(fresh.answer(request))
    finally:
        hook.remove()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-3)


@pytest.fixture(params=["fashion-resnet", "fashion-vit"])
def shipped(request: pytest.FixtureRequest) -> Evaluator:
    stack = shipped_stack(request.param)
    return Evaluator(stack, [shipped_set(stack, "fashion-low-contrast")])


def test_a_shipped_soup_that_extrapolates_has_the_gradient_that_autograd_finds(shipped: Evaluator) -> None:
    """The ResNet's has floored variances, and others close to zero: it is too rough for differences."""
    weights = (0.3, 1.1, -0.3, -0.1)
    outcome = shipped.answer(EvaluationRequest(weights, gradient=True))
    layers = shipped.soup.stack.layout.layers
    expected = by_autograd(shipped, np.array([weights] * layers)).sum(axis=0)
    np.testing.assert_allclose(total_gradient(outcome)[0], expected, atol=1e-3 * np.abs(expected).max())


@pytest.mark.parametrize("weights", [(0.25, 0.25, 0.25, 0.25), (0.0, 1.0, 0.0, 0.0), (0.3, 0.8, -0.05, -0.05)])
def test_shipped_soups_have_the_gradient_that_finite_differences_have(shipped: Evaluator, weights: Weights) -> None:
    """Central differences along the plane."""
    step = 2e-3
    found = total_gradient(shipped.answer(EvaluationRequest(weights, gradient=True)))[0]
    for place in range(1, 4):
        direction = np.zeros(4)
        direction[[0, place]] = 1, -1
        ends = [shipped.evaluate(np.array(weights) + side * step * direction) for side in (1, -1)]
        ahead, behind = (-each.sets[0].nll * each.sets[0].seen for each in ends)
        expected = (ahead - behind) / (2 * step)
        assert found @ direction == pytest.approx(expected, rel=0.02, abs=0.02 * np.abs(found).max())


def test_the_gradient_through_running_statistics_counts(tmp_path: Path) -> None:
    """Ingredients that differ in running statistics alone."""
    stack = resnet_stack(tmp_path, 2)
    for slot in stack.layout.slots:
        if "running" not in slot.names[0]:
            stack.weights[1, slot.offset : slot.end] = stack.weights[0, slot.offset : slot.end]
    evaluator = Evaluator(stack, [random_set(40)])
    weights = (0.7, 0.3)
    found = total_gradient(evaluator.answer(EvaluationRequest(weights, gradient=True)))
    expected = by_autograd(evaluator, np.array([weights] * stack.layout.layers)).sum(axis=0)
    assert abs(expected[0] - expected[1]) > 0.1
    assert found[0, 0] - found[0, 1] == pytest.approx(expected[0] - expected[1], rel=1e-2)


def test_floored_variances_have_no_gradient(tmp_path: Path) -> None:
    stack = resnet_stack(tmp_path, 2)
    evaluator = Evaluator(stack, [random_set(40)])
    weights = (3.0, -2.0)
    outcome = evaluator.answer(EvaluationRequest(weights, gradient=True))
    assert outcome.floored_channels > 10
    expected = by_autograd(evaluator, np.array([weights] * stack.layout.layers)).sum(axis=0)
    np.testing.assert_allclose(total_gradient(outcome)[0], expected, rtol=1e-3, atol=1e-4 * np.abs(expected).max())


def test_a_soup_with_logits_that_are_not_finite_has_none(tmp_path: Path) -> None:
    stack = vit_stack(tmp_path)
    head = next(slot for slot in stack.layout.slots if "head.bias" in slot.names)
    stack.weights[0, head.offset] = 3e38
    outcome = Evaluator(stack, [random_set(10)], batch_size=4).answer(
        EvaluationRequest((1.4, -0.4, 0.0), gradient=True)
    )
    assert (outcome.status, outcome.passes) == ("not_finite", Passes(10))
    assert outcome.sets[0].gradients is None


def test_images_without_labels_are_read_and_have_none(stack: IngredientStack) -> None:
    sets = [random_set(20), replace(random_set(9, seed=5), accepted=None)]
    both = Evaluator(stack, sets).answer(EvaluationRequest(WEIGHTS, gradient=True))
    alone = Evaluator(stack, sets[:1]).answer(EvaluationRequest(WEIGHTS, gradient=True))
    assert both.passes == Passes(29, 20)
    assert both.sets[1].gradients is None
    # With several threads, one batch is computed by all of them and two by one each: sums are then rounded differently.
    np.testing.assert_allclose(both.sets[0].gradient, alone.sets[0].gradient, rtol=1e-4, atol=1e-6)


def test_it_stops_between_batches(evaluator: Evaluator) -> None:
    outcome = evaluator.answer(EvaluationRequest(WEIGHTS, gradient=True), StopAfter(2))
    assert (outcome.status, outcome.passes) == ("stopped", Passes(32, 32))
    assert not any(parameter.requires_grad for parameter in evaluator.soup.model.parameters())


def test_attacks_come_after_it(stack: IngredientStack) -> None:
    evaluator = Evaluator(stack, [random_set(12)], attacks=[Attack(Threat("Linf", 0.05), steps=2)])
    bare = evaluator.evaluate(WEIGHTS)
    both = evaluator.answer(EvaluationRequest(WEIGHTS, gradient=True))
    np.testing.assert_array_equal(both.sets[0].robust, bare.sets[0].robust)
    assert both.passes == bare.passes + Passes(0, 12)
    assert both.sets[0].gradients is not None


def test_what_has_no_gradient_is_refused(stack: IngredientStack, evaluator: Evaluator) -> None:
    refined = EvaluationRequest(WEIGHTS, gradient=True, refinement=Refinement(head="refit"))
    for request, message in (
        (EvaluationRequest("logits", gradient=True), "ensemble"),
        (refined, "refinement"),
        (EvaluationRequest(LayerWeights((WEIGHTS,)), gradient=True), "layers"),
    ):
        with pytest.raises(ValueError, match=message):
            evaluator.answer(request)
    soup = EvaluationRequest(WEIGHTS, gradient=True)
    with pytest.raises(ValueError, match="float32"):
        Evaluator(stack, [random_set(4)], precision="bfloat16").answer(soup)


def test_a_batch_norm_without_scale_and_shift_is_refused(tmp_path: Path) -> None:
    stack = IngredientStack.from_folders(write_ingredients(tmp_path, config_of(RESNET), 2))
    soup = ResidentSoup(stack)
    norm = next(module for module in soup.model.modules() if isinstance(module, nn.BatchNorm2d))
    norm.weight = norm.bias = None  # type: ignore[assignment]
    with pytest.raises(ValueError, match="scale and shift"):
        WeightGradient(soup)
