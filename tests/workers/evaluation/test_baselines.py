from pathlib import Path

import numpy as np
import pytest
import torch

from tests.workers.evaluation.images import random_set, resnet_stack
from workers.evaluation.baselines import score_baselines, score_ensembles
from workers.evaluation.evaluator import Evaluator


def test_ensembles_average_logits_and_probabilities(tmp_path: Path) -> None:
    source = random_set(30)
    evaluator = Evaluator(resnet_stack(tmp_path), [source], batch_size=8)
    baselines = score_baselines(evaluator)
    members = [evaluator.evaluate(row, logits=True).sets[0] for row in np.eye(3)]
    logits = torch.stack([torch.from_numpy(each.detail.logits) for each in members if each.detail]).double()
    labels = torch.tensor([label for (label,) in source.accepted])
    rows = torch.arange(30)

    by_logits = logits.mean(dim=0).softmax(dim=1)
    by_softmax = logits.softmax(dim=2).mean(dim=0)
    for score, probabilities in (
        (baselines.logit_ensemble, by_logits),
        (baselines.softmax_ensemble, by_softmax),
    ):
        assert score.sets[0].correct == int((probabilities.argmax(dim=1) == labels).sum())
        assert score.sets[0].nll == pytest.approx(-probabilities[rows, labels].log().mean().item(), rel=1e-9)
        assert score.finite
        assert score.sets[0].detail is not None

    assert [each.sets[0].correct for each in baselines.ingredients] == [each.correct for each in members]
    assert all(each.sets[0].detail and each.sets[0].detail.logits is None for each in baselines.ingredients)
    assert baselines.uniform_soup.weights == pytest.approx((1 / 3,) * 3)
    for alone, score in zip(
        score_ensembles(evaluator), (baselines.logit_ensemble, baselines.softmax_ensemble), strict=True
    ):
        assert (alone.sets[0].correct, alone.sets[0].nll_sum) == (score.sets[0].correct, score.sets[0].nll_sum)
