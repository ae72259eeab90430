"""Ensembles read from logits in float64, against plain torch and against the ensemble as one model in float32."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from search.evaluation import EvaluationRequest, Passes
from tests.search.outcomes import assert_same
from tests.workers.evaluation.images import CLASSES, random_images, random_set, resnet_stack
from workers.evaluation.baselines import AVERAGES, evaluate_baselines
from workers.evaluation.ensemble import average_logits, ensemble_outcome
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.labels import LabelSpace
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack


def test_ensembles_average_logits_and_probabilities(tmp_path: Path) -> None:
    source = random_set(30)
    evaluator = Evaluator(resnet_stack(tmp_path), [source], batch_size=8)
    baselines = evaluate_baselines(LocalExecutor(evaluator), 3, [source], attacked=False)
    members = [evaluator.evaluate(row, keep_logits=True) for row in np.eye(3)]
    logits = torch.stack([torch.from_numpy(np.asarray(each.sets[0].logits)) for each in members]).double()
    labels = torch.tensor([label for (label,) in source.labels])
    rows = torch.arange(30)

    by_logits = logits.mean(dim=0).softmax(dim=1)
    by_softmax = logits.softmax(dim=2).mean(dim=0)
    for outcome, probabilities in (
        (baselines.logit_ensemble, by_logits),
        (baselines.softmax_ensemble, by_softmax),
    ):
        assert outcome is not None
        [found] = outcome.sets
        np.testing.assert_array_equal(found.prediction, probabilities.argmax(dim=1).numpy())
        np.testing.assert_array_equal(found.right, (probabilities.argmax(dim=1) == labels).numpy())
        expected = probabilities[rows, labels].log().numpy()
        assert found.log_probability is not None
        np.testing.assert_allclose(found.log_probability.astype(np.float64), expected, rtol=2**-24 + 1e-9)
        assert found.nll == pytest.approx(-expected.mean(), rel=2**-24 + 1e-9)
        assert outcome.status == "complete"
        assert outcome.passes == Passes()

    for ingredient, member in zip(baselines.ingredients, members, strict=True):
        assert_same(ingredient, member)
    assert_same(baselines.uniform_soup, evaluator.evaluate((1 / 3,) * 3, keep_logits=True))


COLUMNS = [(0, 3), (1,), (4, 2)]


@pytest.mark.parametrize("columns", [[(index,) for index in range(CLASSES)], COLUMNS], ids=["classes", "groups"])
def test_an_ensemble_read_from_logits_is_the_ensemble_as_one_model(
    stack: IngredientStack, columns: list[tuple[int, ...]]
) -> None:
    space = LabelSpace(columns, CLASSES)
    sets = [EncodedSet(random_images(40, seed=seed), ((seed, 2),) * 40, space) for seed in (0, 1)]
    evaluator = Evaluator(stack, sets, batch_size=16)
    members = [evaluator.evaluate(row, keep_logits=True) for row in np.eye(3)]
    accepted = [source.accepted for source in sets]
    for average in AVERAGES:
        read = ensemble_outcome(members, average, [space] * 2, accepted)
        model = evaluator.answer(EvaluationRequest(average, keep_logits=True))
        assert (read.status, model.status) == ("complete", "complete")
        for place, (one, other) in enumerate(zip(read.sets, model.sets, strict=True)):
            kept = [np.asarray(member.sets[place].logits) for member in members]
            # The model's arithmetic is float32: a few roundings of numbers as large as the greatest logit, or as the
            # logarithm of the least probability. A difference of two scores errs twice as much.
            size = max(1.0, *(np.abs(each).max() + np.ptp(each, axis=1).max() + np.log(CLASSES) for each in kept))
            tolerance = 16 * 2**-24 * size
            scores = space.log_scores(average_logits(kept, average)).numpy()
            ordered = np.sort(scores, axis=1)
            clear = ordered[:, -1] - ordered[:, -2] > 2 * tolerance
            assert clear.mean() > 0.9
            np.testing.assert_array_equal(one.prediction[clear], other.prediction[clear])
            np.testing.assert_array_equal(one.right[clear], other.right[clear])
            assert one.log_probability is not None
            assert other.log_probability is not None
            np.testing.assert_allclose(one.log_probability, other.log_probability, rtol=0, atol=2 * tolerance)
            # Scores are known but for a constant of the image.
            theirs = space.log_scores(torch.from_numpy(np.asarray(other.logits))).numpy()
            differences = scores - scores[:, :1], theirs - theirs[:, :1]
            np.testing.assert_allclose(*differences, rtol=0, atol=2 * tolerance)


def test_an_ensemble_needs_the_logits_of_its_members(stack: IngredientStack) -> None:
    source = random_set(4)
    evaluator = Evaluator(stack, [source])
    members = [evaluator.evaluate(row) for row in np.eye(3)]
    with pytest.raises(ValueError, match="logits kept"):
        ensemble_outcome(members, "logits", [source.space], [source.accepted])


def test_an_ensemble_with_an_infinite_member_is_not_finite(stack: IngredientStack) -> None:
    source = random_set(4)
    evaluator = Evaluator(stack, [source])
    members = [evaluator.evaluate(row, keep_logits=True) for row in np.eye(3)]
    logits = np.array(members[1].sets[0].logits)
    logits[2, 0] = np.inf
    members[1] = replace(members[1], sets=(replace(members[1].sets[0], logits=logits),))
    for average in AVERAGES:
        outcome = ensemble_outcome(members, average, [source.space], [source.accepted])
        assert outcome.status == "not_finite"
        assert (outcome.sets[0].prediction < 0).tolist() == [False, False, True, False]
        assert outcome.sets[0].nll == np.inf
