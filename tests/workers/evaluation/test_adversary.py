"""Attacks on resident soups against attacks on the same models by themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from search.evaluation import EvaluationRequest, Passes
from search.loop import Interrupted
from tests.search.outcomes import assert_same
from tests.workers.evaluation.images import CLASSES, random_images, random_set, vit_stack
from tests.workers.evaluation.stopping import StopAfter
from workers.attacks.attack import Attack
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import robust_accuracy
from workers.attacks.threat import Threat
from workers.evaluation.adversary import Adversary
from workers.evaluation.baselines import AVERAGES, evaluate_baselines
from workers.evaluation.ensemble import EnsembleModel
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.folder import load_folder
from workers.evaluation.labels import LabelSpace
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.sets import EncodedSet
from workers.soups.files import save_model, soup_config
from workers.soups.merge import merge
from workers.soups.stack import IngredientStack

WEIGHTS = [0.6, 0.8, -0.4]
ATTACKS: list[Attack] = [
    Attack(Threat("Linf", 0.05), steps=5),
    Attack(Threat("L2", 0.3), steps=5, loss="dlr", restarts=2),
    Attack(Threat("L1", 4.0), steps=5, larger_radii=True),
]


@pytest.fixture(scope="module")
def sets() -> list[EncodedSet]:
    return [random_set(24), random_set(9, seed=5)]


@pytest.fixture(scope="module")
def evaluator(stack: IngredientStack, sets: list[EncodedSet]) -> Evaluator:
    return Evaluator(stack, sets, batch_size=16, attacks=ATTACKS, seed=7)


def adversary_of(evaluator: Evaluator) -> Adversary:
    return Adversary(evaluator.soup.model, evaluator.images, ATTACKS, seed=7, part_size=16)


def pixels(source: EncodedSet) -> tuple[Tensor, Tensor]:
    labels = torch.tensor([label for (label,) in source.labels])
    return torch.from_numpy(source.images).float() / 255, labels


def attacked_alone(model: nn.Module, source: EncodedSet) -> np.ndarray:
    config = DataConfig.of_model(model)
    images, labels = pixels(source)
    normalized = NormalizedModel(model, config.mean, config.std)
    found = robust_accuracy(normalized, images, labels, ATTACKS, seeds=(7,), batch_size=16)
    return torch.stack([each.robust[0] for each in found.threats]).numpy()


def test_a_soup_withstands_what_the_written_file_withstands(
    tmp_path: Path, evaluator: Evaluator, sets: list[EncodedSet], stack: IngredientStack
) -> None:
    save_model(tmp_path, merge(stack, WEIGHTS), soup_config(stack.config), {})
    model = load_folder(tmp_path)
    outcome = evaluator.evaluate(WEIGHTS)
    assert outcome.status == "complete"
    for source, result in zip(sets, outcome.sets, strict=True):
        assert result.robust is not None
        assert (result.robust == attacked_alone(model, source)).mean() > 0.95
        assert not (result.robust & ~result.right).any()
        assert result.robust.sum() <= 3 * result.right.sum()
    spent = [passes for *_, passes in adversary_of(evaluator).robust(evaluator.images.batches)]
    passes = sum(spent, Passes())
    assert outcome.passes == Passes(33) + passes
    assert passes.forward > passes.backward > 0


def test_attacks_are_left_out_where_they_are_not_asked_for(
    stack: IngredientStack, sets: list[EncodedSet], evaluator: Evaluator
) -> None:
    clean = evaluator.evaluate(WEIGHTS, attacked=False)
    assert clean.passes == Passes(33)
    assert_same(clean, Evaluator(stack, sets, batch_size=16).evaluate(WEIGHTS))


def test_flags_equal_those_of_the_resident_model_by_itself(evaluator: Evaluator, sets: list[EncodedSet]) -> None:
    outcome = evaluator.evaluate(WEIGHTS)
    for source, result in zip(sets, outcome.sets, strict=True):
        np.testing.assert_array_equal(result.robust, attacked_alone(evaluator.soup.model, source))


def test_results_depend_on_the_seed_and_not_on_history(
    stack: IngredientStack, sets: list[EncodedSet], evaluator: Evaluator
) -> None:
    first = evaluator.evaluate(WEIGHTS)
    evaluator.evaluate([1.4, -0.2, -0.2])
    other = Evaluator(stack, sets, batch_size=16, attacks=ATTACKS, seed=7)
    for again in (evaluator, other):
        assert_same(again.evaluate(WEIGHTS), first)


def test_a_soup_with_infinite_logits_is_not_attacked(tmp_path: Path) -> None:
    stack = vit_stack(tmp_path)
    head = next(slot for slot in stack.layout.slots if "head.bias" in slot.names)
    stack.weights[0, head.offset] = 3e38
    outcome = Evaluator(stack, [random_set(10)], batch_size=4, attacks=ATTACKS).evaluate([1.4, -0.4, 0.0])
    assert outcome.status == "not_finite"
    assert outcome.sets[0].robust is None
    assert outcome.passes == Passes(10)


def test_stop_ends_an_attack_between_passes(evaluator: Evaluator) -> None:
    clean = len(evaluator.images)
    stop = StopAfter(clean + 3)
    outcome = evaluator.evaluate(WEIGHTS, stop=stop)
    assert stop.asked == clean + 4
    assert outcome.status == "stopped"
    assert all(each.robust is None and each.seen == each.total for each in outcome.sets)
    stop.times = 40
    executor = LocalExecutor(evaluator, stop=stop)
    with pytest.raises(Interrupted):
        evaluate_baselines(executor, 3, evaluator.sets, attacked=True)
    assert stop.asked == 41


def test_classes_are_the_columns_of_the_set(stack: IngredientStack) -> None:
    source = random_set(30)
    clean = Evaluator(stack, [source], batch_size=16).evaluate(WEIGHTS, keep_logits=True)
    logits = torch.from_numpy(np.asarray(clean.sets[0].logits))
    for columns in ([(1,), (3,), (2,)], [(0, 1), (2, 3, 4), (1,)]):
        space = LabelSpace(columns, CLASSES)
        predicted = tuple((label,) for label in space.log_scores(logits).argmax(1).tolist())
        images = EncodedSet(source.images, predicted, space)
        attacked = Evaluator(stack, [images], batch_size=16, attacks=[Attack(Threat("Linf", 0.1), steps=8)])
        result = attacked.evaluate(WEIGHTS).sets[0]
        assert result.right.all()
        assert result.robust is not None
        assert result.robust.sum() < 30


def test_what_cannot_be_attacked_is_refused(stack: IngredientStack) -> None:
    several = EncodedSet(random_images(2), ((0, 1), (2,)), LabelSpace.of_classes(CLASSES))
    with pytest.raises(ValueError, match="exactly one right class"):
        Evaluator(stack, [several], attacks=ATTACKS)
    with pytest.raises(ValueError, match="float32"):
        Evaluator(stack, [random_set(2)], precision="bfloat16", attacks=ATTACKS)


def test_ensembles_are_attacked_as_one_model(
    stack: IngredientStack, evaluator: Evaluator, sets: list[EncodedSet], tmp_path: Path
) -> None:
    baselines = evaluate_baselines(LocalExecutor(evaluator), 3, sets, attacked=True)
    found = (baselines.logit_ensemble, baselines.softmax_ensemble)
    folders = [tmp_path / str(index) for index in range(3)]
    for folder, row in zip(folders, np.eye(3), strict=True):
        save_model(folder, merge(stack, row), soup_config(stack.config), {})
    models = [load_folder(folder) for folder in folders]
    config = DataConfig.of_model(models[0])
    images, labels = pixels(sets[0])
    for average, outcome in zip(AVERAGES, found, strict=True):
        ensemble = NormalizedModel(EnsembleModel(models, average), config.mean, config.std)
        expected = robust_accuracy(ensemble, images, labels, ATTACKS, seeds=(7,), batch_size=16)
        flags = torch.stack([each.robust[0] for each in expected.threats]).numpy()
        assert outcome is not None
        assert outcome.sets[0].robust is not None
        assert (outcome.sets[0].robust == flags).mean() > 0.95
        np.testing.assert_array_equal(outcome.sets[0].right, expected.clean.numpy())
        assert_same(evaluator.answer(EvaluationRequest(average)), outcome)
    for row, ingredient in zip(np.eye(3), baselines.ingredients, strict=True):
        assert_same(ingredient, evaluator.evaluate(row))
        assert all(each.robust is not None for each in ingredient.sets)
    assert all(each.robust is not None for each in baselines.uniform_soup.sets)


def test_memory_that_runs_out_halves_the_parts(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    adversary, batches = adversary_of(evaluator), evaluator.images.batches
    evaluator.soup.set_weights(WEIGHTS)
    expected = [flags for _, _, flags, _ in adversary.robust(batches)]
    model = evaluator.soup.model
    whole = model.forward

    def hungry(images: Tensor) -> Tensor:
        return torch.empty(2**60) if len(images) > 5 else whole(images)

    monkeypatch.setattr(model, "forward", hungry)
    found = [flags for _, _, flags, _ in adversary.robust(batches)]
    assert adversary.part_size == 4
    for one, two in zip(expected, found, strict=True):
        assert (one == two).mean() > 0.95
