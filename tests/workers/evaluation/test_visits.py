"""Soups that see images in an order of their own and may be dropped on the way."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from search.evaluation import Bar, EvaluationRequest, Outcome, SetOutcome, Visit
from search.loop import Steering
from search.objectives import Measure
from search.pruning import ExactBar, steps_of
from tests.workers.evaluation.images import CLASSES, random_set, resnet_stack
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack

WEIGHTS = (0.6, 0.8, -0.4)
ATTACKS = [Attack(Threat("Linf", 0.05), steps=3), Attack(Threat("L2", 1.0), steps=3)]


@pytest.fixture(scope="module")
def sets(stack: IngredientStack) -> list[EncodedSet]:
    """Images of which the soup has three quarters right."""
    return [labelled(stack, random_set(40)), labelled(stack, random_set(21, seed=5))]


def labelled(stack: IngredientStack, images: EncodedSet) -> EncodedSet:
    predicted = Evaluator(stack, [images]).evaluate(WEIGHTS).sets[0].prediction
    labels = np.where(np.arange(len(predicted)) % 4 == 0, (predicted + 1) % CLASSES, predicted)
    return EncodedSet.of_classes(images.images, labels.tolist(), CLASSES)


def visit(attacks: tuple[int, ...] = ()) -> Visit:
    rng = np.random.default_rng(3)
    return Visit(steps_of([rng.permutation(40), rng.permutation(21)]), attacks)


@dataclass
class Watching(Bar):
    """Drops a soup once it has seen ``most`` images; keeps what it was shown."""

    most: int
    shown: list[Sequence[SetOutcome]]

    def drops(self, sets: Sequence[SetOutcome]) -> bool:
        self.shown.append(sets)
        return sum(each.seen for each in sets) >= self.most


def assert_alike(one: Outcome, other: Outcome) -> None:
    assert (one.status, one.passes, one.floored_channels) == (other.status, other.passes, other.floored_channels)
    for ours, theirs in zip(one.sets, other.sets, strict=True):
        np.testing.assert_array_equal(ours.prediction, theirs.prediction)
        np.testing.assert_array_equal(ours.right, theirs.right)
        assert (ours.total, ours.seen) == (theirs.total, theirs.seen)
        for mine, yours in ((ours.log_probability, theirs.log_probability), (ours.logits, theirs.logits)):
            assert (mine is None) == (yours is None)
            if mine is not None and yours is not None:
                np.testing.assert_allclose(mine, yours, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("has_norm", [False, True])
def test_a_whole_visit_finds_what_any_evaluation_does(
    tmp_path: Path, stack: IngredientStack, sets: list[EncodedSet], threads: int, *, has_norm: bool
) -> None:
    evaluator = Evaluator(resnet_stack(tmp_path) if has_norm else stack, sets, batch_size=16, threads=threads)
    plain = EvaluationRequest(WEIGHTS, keep_logits=True)
    assert_alike(evaluator.answer(replace(plain, visit=visit())), evaluator.answer(plain))


def test_under_attack_an_image_starts_from_the_same_noise_wherever_it_comes(
    stack: IngredientStack, sets: list[EncodedSet]
) -> None:
    evaluator = Evaluator(stack, sets, batch_size=16, attacks=ATTACKS, seed=7)
    plain = evaluator.answer(EvaluationRequest(WEIGHTS))
    visited = evaluator.answer(EvaluationRequest(WEIGHTS, visit=visit((1, 0))))
    assert_alike(replace(visited, passes=plain.passes), plain)
    for ours, theirs in zip(visited.sets, plain.sets, strict=True):
        assert ours.robust is not None
        assert theirs.robust is not None
        assert (ours.robust == theirs.robust).mean() > 0.95
        assert 0 < theirs.robust.mean() < theirs.accuracy


@pytest.mark.parametrize("threads", [1, 2])
def test_a_soup_that_is_dropped_sees_no_more_images(
    stack: IngredientStack, sets: list[EncodedSet], threads: int
) -> None:
    evaluator = Evaluator(stack, sets, threads=threads)
    bar = Watching(24, [])
    outcome = evaluator.answer(EvaluationRequest(WEIGHTS, visit=visit()), drops=bar.drops)
    assert outcome.status == "pruned"
    assert outcome.passes.forward == sum(each.seen for each in outcome.sets)
    assert 24 <= outcome.passes.forward <= 24 + 8 * (threads + 1)
    whole = evaluator.evaluate(WEIGHTS)
    for rows, seen, full in zip(visit().rows(2), bar.shown[-1], whole.sets, strict=True):
        np.testing.assert_array_equal(seen.right, full.right[rows[: seen.seen]])
        assert seen.total == full.total


def test_the_last_step_is_no_reason_to_forget_a_soup(stack: IngredientStack, sets: list[EncodedSet]) -> None:
    bar = Watching(61, [])
    outcome = Evaluator(stack, sets).answer(EvaluationRequest(WEIGHTS, visit=visit()), drops=bar.drops)
    assert outcome.status == "complete"
    assert len(bar.shown) == len(visit().steps) - 1


def test_without_a_visit_no_soup_is_dropped(stack: IngredientStack, sets: list[EncodedSet]) -> None:
    bar = Watching(0, [])
    assert Evaluator(stack, sets).answer(EvaluationRequest(WEIGHTS), drops=bar.drops).status == "complete"
    assert not bar.shown


def test_a_soup_that_cannot_be_robust_enough_is_not_attacked(stack: IngredientStack, sets: list[EncodedSet]) -> None:
    evaluator = Evaluator(stack, sets, attacks=ATTACKS)
    measure = Measure(threats=(0, 1))
    request = EvaluationRequest(WEIGHTS, visit=visit((0, 1)))
    clean = evaluator.evaluate(WEIGHTS, attacked=False)
    accuracy = Measure().value(clean.sets)
    out = evaluator.answer(request, drops=ExactBar((measure,), (), (0.0, accuracy + 0.01)).drops)
    assert (out.status, out.passes.backward) == ("pruned", 0)
    robust = measure.value(evaluator.answer(request).sets)
    assert robust < accuracy
    early = evaluator.answer(request, drops=ExactBar((measure,), (), (0.0, (robust + accuracy) / 2)).drops)
    whole = evaluator.answer(request, drops=ExactBar((measure,), (), (0.0, robust)).drops)
    assert early.status == "pruned"
    assert 0 < early.passes.backward < whole.passes.backward
    assert whole.status == "complete"


def test_a_visit_holds_every_image_once(stack: IngredientStack, sets: list[EncodedSet]) -> None:
    evaluator = Evaluator(stack, sets, batch_size=16)
    for steps in (visit().steps[1:], (*visit().steps, (0, (1,)))):
        with pytest.raises(ValueError, match="every image"):
            evaluator.answer(EvaluationRequest(WEIGHTS, visit=Visit(steps)))
    with pytest.raises(ValueError, match="leave blocks out"):
        evaluator.answer(EvaluationRequest(WEIGHTS, blocks=(0, 1), visit=visit()))


def test_an_executor_asks_for_the_bar_as_it_is(stack: IngredientStack, sets: list[EncodedSet]) -> None:
    bars: list[Bar | None] = [None]
    told: list[tuple[int, Outcome]] = []

    def on_found(found: Sequence[tuple[int, Outcome]]) -> None:
        told.extend(found)
        bars[0] = Watching(0, [])

    requests = [EvaluationRequest(WEIGHTS, visit=visit()), EvaluationRequest((1.0, 0.0, 0.0), visit=visit())]
    LocalExecutor(Evaluator(stack, sets)).evaluate(requests, on_found, Steering(bar=lambda: bars[0]))
    assert [outcome.status for _, outcome in told] == ["complete", "pruned"]
