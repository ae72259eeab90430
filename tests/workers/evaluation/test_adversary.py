"""Attacks on resident soups against attacks on the same models by themselves."""

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.workers.evaluation.images import CLASSES, random_images, random_set, vit_stack
from workers.attacks.apgd import Settings
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import robust_accuracy
from workers.attacks.threat import Threat
from workers.evaluation.adversary import Attack
from workers.evaluation.baselines import score_baselines, score_ensembles
from workers.evaluation.ensemble import EnsembleModel
from workers.evaluation.errors import EvaluationStopped
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.folder import load_folder
from workers.evaluation.labels import LabelSpace
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.sets import EncodedSet
from workers.soups.files import save_model, soup_config
from workers.soups.merge import merge
from workers.soups.stack import IngredientStack

WEIGHTS = [0.6, 0.8, -0.4]
ATTACKS: list[Attack] = [
    (Threat("Linf", 0.05), Settings(steps=5)),
    (Threat("L2", 0.3), Settings(steps=5, loss="dlr", restarts=2)),
    (Threat("L1", 4.0), Settings(steps=5, larger_radii=True)),
]


@pytest.fixture(scope="module")
def sets() -> list[EncodedSet]:
    return [random_set(24), random_set(9, seed=5)]


@pytest.fixture(scope="module")
def evaluator(stack: IngredientStack, sets: list[EncodedSet]) -> Evaluator:
    return Evaluator(stack, sets, batch_size=16, attacks=ATTACKS, seed=7)


def pixels(source: EncodedSet) -> tuple[Tensor, Tensor]:
    labels = torch.tensor([label for (label,) in source.accepted])
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
    score = evaluator.evaluate(WEIGHTS, detail=True)
    assert score.complete
    for source, result in zip(sets, score.sets, strict=True):
        assert result.robust is not None
        assert result.detail is not None
        assert (result.robust == attacked_alone(model, source)).mean() > 0.95
        assert not (result.robust & ~result.detail.correct).any()
        assert result.robust.sum() <= 3 * result.correct
    assert score.images == 33 + score.attacks.forward
    assert score.attacks.forward > score.attacks.backward > 0


def test_flags_equal_those_of_the_resident_model_by_itself(evaluator: Evaluator, sets: list[EncodedSet]) -> None:
    score = evaluator.evaluate(WEIGHTS)
    for source, result in zip(sets, score.sets, strict=True):
        np.testing.assert_array_equal(result.robust, attacked_alone(evaluator.soup.model, source))


def test_results_depend_on_the_seed_and_not_on_history(
    stack: IngredientStack, sets: list[EncodedSet], evaluator: Evaluator
) -> None:
    first = [each.robust for each in evaluator.evaluate(WEIGHTS).sets]
    evaluator.evaluate([1.4, -0.2, -0.2])
    other = Evaluator(stack, sets, batch_size=16, attacks=ATTACKS, seed=7)
    for again in (evaluator, other):
        for one, two in zip(first, again.evaluate(WEIGHTS).sets, strict=True):
            np.testing.assert_array_equal(one, two.robust)


def test_a_soup_with_infinite_logits_is_not_attacked(tmp_path: Path) -> None:
    stack = vit_stack(tmp_path)
    head = next(slot for slot in stack.layout.slots if "head.bias" in slot.names)
    stack.weights[0, head.offset] = 3e38
    score = Evaluator(stack, [random_set(10)], batch_size=4, attacks=ATTACKS).evaluate([1.4, -0.4, 0.0])
    assert not score.finite
    assert score.sets[0].robust is None
    assert score.attacks.forward == 0


def test_stop_ends_an_attack_between_passes(evaluator: Evaluator) -> None:
    asked: list[None] = []
    clean = len(evaluator.images)
    score = evaluator.evaluate(WEIGHTS, stop=lambda: asked.append(None) or len(asked) > clean + 3)
    assert len(asked) == clean + 4
    assert not score.complete
    assert all(each.robust is None and each.seen == each.total for each in score.sets)
    with pytest.raises(EvaluationStopped):
        score_baselines(evaluator, stop=lambda: asked.append(None) or len(asked) > 40)


def test_classes_are_the_columns_of_the_set(stack: IngredientStack, evaluator: Evaluator) -> None:
    source = random_set(30)
    detail = Evaluator(stack, [source], batch_size=16).evaluate(WEIGHTS, logits=True).sets[0].detail
    assert detail is not None
    logits = torch.from_numpy(detail.logits)
    for columns in ([(1,), (3,), (2,)], [(0, 1), (2, 3, 4), (1,)]):
        space = LabelSpace(columns, CLASSES)
        predicted = tuple((label,) for label in space.log_scores(logits).argmax(1).tolist())
        images = EncodedSet(source.images, predicted, space)
        attacked = Evaluator(stack, [images], batch_size=16, attacks=[(Threat("Linf", 0.1), Settings(steps=8))])
        result = attacked.evaluate(WEIGHTS).sets[0]
        assert result.correct == 30
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
    baselines = score_baselines(evaluator)
    folders = [tmp_path / str(index) for index in range(3)]
    for folder, row in zip(folders, np.eye(3), strict=True):
        save_model(folder, merge(stack, row), soup_config(stack.config), {})
    models = [load_folder(folder) for folder in folders]
    config = DataConfig.of_model(models[0])
    images, labels = pixels(sets[0])
    for average, score in (("logits", baselines.logit_ensemble), ("softmax", baselines.softmax_ensemble)):
        ensemble = NormalizedModel(EnsembleModel(models, average), config.mean, config.std)
        expected = robust_accuracy(ensemble, images, labels, ATTACKS, seeds=(7,), batch_size=16)
        flags = torch.stack([each.robust[0] for each in expected.threats]).numpy()
        assert score.sets[0].robust is not None
        assert (score.sets[0].robust == flags).mean() > 0.95
        assert int(expected.clean.sum()) == score.sets[0].correct
    pairs = zip(score_ensembles(evaluator), (baselines.logit_ensemble, baselines.softmax_ensemble), strict=True)
    assert all(np.array_equal(alone.sets[0].robust, score.sets[0].robust) for alone, score in pairs)
    for ingredient in (*baselines.ingredients, baselines.uniform_soup):
        assert all(each.robust is not None for each in ingredient.sets)


def test_memory_that_runs_out_halves_the_parts(evaluator: Evaluator, monkeypatch: pytest.MonkeyPatch) -> None:
    adversary = evaluator.adversary(evaluator.soup.model)
    assert adversary is not None
    evaluator.soup.set_weights(WEIGHTS)
    expected, _ = adversary.robust()
    model = evaluator.soup.model
    whole = model.forward

    def hungry(images: Tensor) -> Tensor:
        return torch.empty(2**60) if len(images) > 5 else whole(images)

    monkeypatch.setattr(model, "forward", hungry)
    found, _ = adversary.robust()
    assert adversary.part_size == 4
    for one, two in zip(expected, found, strict=True):
        assert (one == two).mean() > 0.95
