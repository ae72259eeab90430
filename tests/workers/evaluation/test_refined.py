"""What an evaluator answers for refined soups."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch

from search.evaluation import REFINEMENT_FOLDS, EvaluationRequest, Passes, Refinement, Weights
from tests.search.outcomes import assert_same
from tests.workers.evaluation.images import CLASSES, random_set, resnet_stack, vit_stack
from tests.workers.evaluation.shipped import shipped_set, shipped_stack
from tests.workers.evaluation.stopping import StopAfter
from tests.workers.refinement.readings import with_labels_changed
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.folder import evaluate_model
from workers.evaluation.labels import LabelSpace
from workers.evaluation.sets import EncodedSet
from workers.refinement import fit
from workers.refinement.checkpoint import refined
from workers.soups.merge import merge
from workers.soups.model import build_model
from workers.soups.resident import ResidentSoup

SOUP: Weights = (0.6, 0.8, -0.4)
ADAPTED = Refinement(statistics="adapted")
HEAD = Refinement(head="refit")
WARM = Refinement(temperature=True)
EVERYTHING = Refinement("adapted", "refit", temperature=True)


@pytest.fixture(scope="module")
def sets() -> list[EncodedSet]:
    return [random_set(50), random_set(21, seed=5)]


@pytest.fixture
def evaluator(tmp_path: Path, sets: list[EncodedSet]) -> Evaluator:
    return Evaluator(resnet_stack(tmp_path), sets, batch_size=16)


def asked(refinement: Refinement, soup: Weights = SOUP) -> EvaluationRequest:
    return EvaluationRequest(soup, keep_logits=True, refinement=refinement)


def refinements() -> Iterator[Refinement]:
    for statistics, head, temperature in product(("source", "adapted"), ("keep", "refit"), (False, True)):
        yield Refinement(statistics, head, temperature)  # type: ignore[arg-type]


def test_adapted_statistics_are_those_of_the_checkpoint() -> None:
    stack = shipped_stack("fashion-resnet")
    sets = [shipped_set(stack, name) for name in ("fashion-rotation", "fashion-gaussian-noise")]
    weights = (0.4, 0.3, 0.2, 0.1)
    found = Evaluator(stack, sets).answer(asked(ADAPTED, weights))
    tensors, _ = refined(merge(stack, weights), stack.config, sets, ADAPTED)
    model = build_model(stack.config)
    model.load_state_dict(tensors)
    for each, source in zip(found.sets, sets, strict=True):
        expected = evaluate_model(model, source)
        assert each.logits is not None
        assert expected.logits is not None
        np.testing.assert_allclose(each.logits, expected.logits, rtol=1e-3, atol=1e-3)
    assert found.passes == Passes(400)


@pytest.mark.parametrize("pantry", ["fashion-resnet", "fashion-vit"])
def test_the_cross_validated_nll_foretells_that_of_other_images(pantry: str) -> None:
    stack = shipped_stack(pantry)
    source, held_out = (shipped_set(stack, "fashion-low-contrast", part) for part in ("adaptation", "held_out"))
    refinement = Refinement("adapted" if pantry == "fashion-resnet" else "source", "refit", temperature=True)
    weights = (0.25,) * 4
    evaluator = Evaluator(stack, [source])
    [found] = evaluator.answer(asked(refinement, weights)).sets
    [own] = evaluator.evaluate(weights).sets
    tensors, _ = refined(merge(stack, weights), stack.config, [source], refinement)
    model = build_model(stack.config)
    model.load_state_dict(tensors)
    delivered = evaluate_model(model, held_out)
    assert found.log_probability is not None
    error = found.log_probability.std() / len(source) ** 0.5
    assert abs(found.nll - delivered.nll) < 4 * error
    assert found.nll < own.nll - 1
    # Fitted to the very images that it is read on, the same soup looks better than it is.
    assert evaluate_model(model, source).nll < found.nll


@pytest.mark.parametrize("refinement", [HEAD, EVERYTHING], ids=["head", "everything"])
def test_the_order_of_images_hardly_changes_a_refined_soup(refinement: Refinement) -> None:
    """Images of each class one after the other, and images of all classes in turn."""
    stack = shipped_stack("fashion-resnet")
    source = shipped_set(stack, "fashion-low-contrast")
    labels = np.array(source.labels)[:, 0]
    in_turn = np.argsort(labels, kind="stable").reshape(10, 10).T.ravel()
    mixed = replace(source, images=source.images[in_turn], accepted=tuple(source.labels[row] for row in in_turn))
    assert np.array(mixed.labels)[:, 0].tolist() == (np.arange(100) % 10).tolist()
    sorted_nll, mixed_nll = (
        Evaluator(stack, [each]).answer(asked(refinement, (0.25,) * 4)).sets[0].nll for each in (source, mixed)
    )
    assert mixed_nll == pytest.approx(sorted_nll, rel=0.1)


@pytest.mark.parametrize("refinement", [HEAD, WARM, EVERYTHING], ids=["head", "temperature", "everything"])
def test_no_image_is_judged_by_a_model_that_saw_its_label(
    monkeypatch: pytest.MonkeyPatch, evaluator: Evaluator, sets: list[EncodedSet], refinement: Refinement
) -> None:
    monkeypatch.setattr(fit, "STRENGTHS", (0.16,))
    folds = torch.cat([torch.arange(len(each)) % REFINEMENT_FOLDS for each in sets])
    monkeypatch.setattr(fit, "folds_of", lambda _: folds)
    before = evaluator.answer(asked(refinement))
    for fold in range(REFINEMENT_FOLDS):
        changed = [with_labels_changed(each, fold) for each in sets]
        after = Evaluator(evaluator.soup.stack, changed, batch_size=16).answer(asked(refinement))
        for ours, theirs in zip(before.sets, after.sets, strict=True):
            assert ours.logits is not None
            assert theirs.logits is not None
            np.testing.assert_array_equal(ours.logits[fold::REFINEMENT_FOLDS], theirs.logits[fold::REFINEMENT_FOLDS])
            np.testing.assert_array_equal(
                ours.prediction[fold::REFINEMENT_FOLDS], theirs.prediction[fold::REFINEMENT_FOLDS]
            )
            assert (ours.logits != theirs.logits).any()


def test_an_outcome_depends_on_its_request_alone(evaluator: Evaluator, sets: list[EncodedSet]) -> None:
    soup = evaluator.soup
    plain = evaluator.evaluate(SOUP, keep_logits=True)
    integers = {
        name: tensor.clone() for name, tensor in soup.model.state_dict().items() if not tensor.is_floating_point()
    }
    found = {each: evaluator.answer(asked(each)) for each in refinements()}
    assert_same(found[Refinement()], plain)
    for refinement, outcome in found.items():
        assert_same(Evaluator(soup.stack, sets, batch_size=16).answer(asked(refinement)), outcome)
        assert outcome.passes == Passes(142 if refinement.statistics == "adapted" else 71)
        assert outcome.status == "complete"
    others = [(0.0, 1.0, 0.0), SOUP, (1.0, 0.0, 0.0), SOUP]
    for weights, refinement in product(others, (ADAPTED, EVERYTHING, WARM)):
        again = evaluator.answer(asked(refinement, weights))
        if weights == SOUP:
            assert_same(again, found[refinement])
        assert_same(evaluator.evaluate(SOUP, keep_logits=True), plain)
    expected = ResidentSoup(soup.stack)
    expected.set_weights(SOUP)
    state = soup.model.state_dict()
    assert all(torch.equal(state[name], tensor) for name, tensor in expected.model.state_dict().items())
    assert integers
    assert all(torch.equal(state[name], tensor) for name, tensor in integers.items())


def test_further_refinements_of_a_soup_cost_no_pass(evaluator: Evaluator) -> None:
    seen = []
    hook = evaluator.soup.model.register_forward_pre_hook(lambda _, inputs: seen.append(len(inputs[0])))
    for statistics in ("source", "adapted"):
        for head, temperature in product(("refit", "keep"), (True, False)):
            evaluator.answer(asked(Refinement(statistics, head, temperature)))  # type: ignore[arg-type]
    hook.remove()
    # Without anything learnt a request is answered as ever.
    assert sum(seen) == 71 + 71 + 2 * 71


def test_what_was_stopped_does_not_touch_what_comes_next(evaluator: Evaluator) -> None:
    plain, outcome = evaluator.evaluate(SOUP), evaluator.answer(asked(EVERYTHING))
    evaluator.evaluate((0.0, 0.0, 1.0))
    for times in range(1 + len(evaluator.images)):
        early = evaluator.answer(asked(EVERYTHING, (1.0, 0.0, 0.0)), StopAfter(times))
        assert early.status == "stopped"
        assert [each.seen for each in early.sets] == [0, 0]
        assert not any(module._forward_hooks for module in evaluator.soup.model.modules())
        assert_same(evaluator.evaluate(SOUP), plain)
        assert_same(evaluator.answer(asked(EVERYTHING)), outcome)


def test_soups_without_finite_logits_are_not_fitted(tmp_path: Path) -> None:
    stack = vit_stack(tmp_path)
    head = next(slot for slot in stack.layout.slots if "head.bias" in slot.names)
    stack.weights[0, head.offset] = 3e38
    outcome = Evaluator(stack, [random_set(10)], batch_size=4).answer(asked(HEAD, (1.4, -0.4, 0.0)))
    assert outcome.status == "not_finite"
    assert (outcome.sets[0].prediction == -1).all()
    assert outcome.sets[0].nll == np.inf


def test_soups_far_outside_the_ingredients_are_not_finite_and_not_refused() -> None:
    stack = shipped_stack("fashion-resnet")
    outcome = Evaluator(stack, [shipped_set(stack, "fashion-low-contrast")]).answer(
        asked(HEAD, (1e12, -1e12, 1.0, 0.0))
    )
    assert np.isnan(outcome.sets[0].logits).any()  # type: ignore[arg-type]
    assert outcome.status == "not_finite"


def test_statistics_are_adapted_to_images_without_labels(evaluator: Evaluator, sets: list[EncodedSet]) -> None:
    bare = Evaluator(evaluator.soup.stack, [replace(each, accepted=None) for each in sets], batch_size=16)
    found, expected = bare.answer(asked(ADAPTED)), evaluator.answer(asked(ADAPTED))
    for ours, theirs in zip(found.sets, expected.sets, strict=True):
        assert (ours.correct, ours.log_probability) == (None, None)
        np.testing.assert_array_equal(ours.prediction, theirs.prediction)
    with pytest.raises(ValueError, match="no set has any"):
        bare.answer(asked(WARM))


def test_label_maps_have_temperatures_and_no_last_layer(evaluator: Evaluator) -> None:
    space = LabelSpace([(0, 3), (1,), (4, 2)], CLASSES)
    source = replace(random_set(30), accepted=tuple((place % 3,) for place in range(30)), space=space)
    mapped = Evaluator(evaluator.soup.stack, [source], batch_size=16)
    own, warm = mapped.evaluate(SOUP), mapped.answer(asked(WARM))
    np.testing.assert_array_equal(warm.sets[0].logits.argmax(1), evaluator_logits(mapped).argmax(1))  # type: ignore[union-attr]
    assert warm.sets[0].nll < own.sets[0].nll
    with pytest.raises(ValueError, match="label map"):
        mapped.answer(asked(HEAD))


def evaluator_logits(evaluator: Evaluator) -> np.ndarray:
    [found] = evaluator.evaluate(SOUP, keep_logits=True).sets
    assert found.logits is not None
    return found.logits


def test_requests_that_cannot_be_answered_are_refused(evaluator: Evaluator, tmp_path: Path) -> None:
    wrong = {
        "ensemble": EvaluationRequest("logits", refinement=ADAPTED),
        "all images": EvaluationRequest(SOUP, (0, 2), refinement=ADAPTED),
        "3 ingredients take 3": EvaluationRequest((0.5, 0.5), refinement=ADAPTED),
    }
    for message, request in wrong.items():
        with pytest.raises(ValueError, match=message):
            evaluator.answer(request)
    assert_same(
        evaluator.answer(replace(asked(ADAPTED), blocks=(0, evaluator.blocks))), evaluator.answer(asked(ADAPTED))
    )
    without = Evaluator(vit_stack(tmp_path / "vit"), [random_set(20)])
    with pytest.raises(ValueError, match="no BatchNorm"):
        without.answer(asked(ADAPTED))
    attacked = Evaluator(evaluator.soup.stack, [random_set(20)], attacks=[Attack(Threat("Linf", 0.1), steps=1)])
    with pytest.raises(ValueError, match="with threats nothing is refined"):
        attacked.answer(asked(ADAPTED))
    assert attacked.answer(replace(asked(ADAPTED), attacked=False)).sets[0].robust is None


def test_threads_change_logits_by_rounding_alone(evaluator: Evaluator) -> None:
    before = torch.get_num_threads()
    source = random_set(150)
    try:
        one, two = (
            Evaluator(evaluator.soup.stack, [source], threads=threads).answer(asked(HEAD)) for threads in (1, 2)
        )
    finally:
        torch.set_num_threads(before)
    for ours, theirs in zip(one.sets, two.sets, strict=True):
        assert ours.logits is not None
        assert theirs.logits is not None
        np.testing.assert_allclose(ours.logits, theirs.logits, rtol=1e-5, atol=1e-5)
