"""Outcomes put together from blocks that several evaluators evaluated."""

from functools import cache
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from search.evaluation import Average, EvaluationRequest, Outcome, Weights, joined
from tests.search.outcomes import assert_same
from tests.workers.evaluation.images import random_set, vit_stack
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import Evaluator
from workers.soups.stack import IngredientStack

WEIGHTS = (0.6, 0.8, -0.4)
BLOCKS = 8
ATTACKS: list[Attack] = [
    Attack(Threat("Linf", 0.05), steps=3),
    Attack(Threat("L2", 0.3), steps=3, loss="dlr", restarts=2),
]
CUTTINGS = st.sets(st.integers(1, BLOCKS - 1)).map(lambda cuts: [0, *sorted(cuts), BLOCKS])


class Team:
    """Two evaluators that take parts in turn, the second after another soup."""

    def __init__(self, stack: IngredientStack) -> None:
        sets = [random_set(33), random_set(17, seed=5)]
        self._pair = [
            Evaluator(stack, sets, batch_size=8, stream_batch_size=4, attacks=ATTACKS, seed=7) for _ in range(2)
        ]
        assert self._pair[0].blocks == BLOCKS
        self._pair[1].evaluate((1.4, -0.2, -0.2))
        self.part = cache(self._part)

    def whole(self, request: EvaluationRequest) -> Outcome:
        return self.part(request, 0)

    def cut(self, request: EvaluationRequest, ends: list[int]) -> Outcome:
        model, attacked, logits = request.model, request.attacked, request.keep_logits
        requests = [EvaluationRequest(model, blocks, attacked, logits) for blocks in pairwise(ends)]
        return joined([self.part(each, place % 2) for place, each in enumerate(requests)])

    def first_features(self) -> np.ndarray:
        """The first feature before the head, of each image in the first ingredient."""
        images, soup = self._pair[0].images, self._pair[0].soup
        soup.set_weights((1.0, 0.0, 0.0))
        model: Any = soup.model
        with torch.inference_mode():
            features = [model.forward_features(images.normalise(batch.images)) for batch in images]
            return torch.cat([model.forward_head(each, pre_logits=True) for each in features])[:, 0].numpy()

    def _part(self, request: EvaluationRequest, place: int) -> Outcome:
        return self._pair[place].answer(request)


@pytest.fixture(scope="module")
def team(stack: IngredientStack) -> Team:
    return Team(stack)


@pytest.mark.parametrize("attacked", [False, True], ids=["clean", "attacked"])
@pytest.mark.parametrize("model", [WEIGHTS, "softmax"], ids=["soup", "ensemble"])
@settings(max_examples=25)
@given(ends=CUTTINGS)
def test_any_cutting_gives_the_outcome_of_the_whole(
    team: Team, model: Weights | Average, attacked: bool, ends: list[int]
) -> None:
    request = EvaluationRequest(model, attacked=attacked, keep_logits=True)
    whole = team.whole(request)
    assert [each.robust is not None for each in whole.sets] == [attacked] * 2
    assert [each.seen for each in whole.sets] == [33, 17]
    assert_same(team.cut(request, ends), whole)


@pytest.fixture(scope="module")
def overflowing(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """The first ingredient's logits overflow for one of all images, that with the least first feature."""
    stack = vit_stack(tmp_path_factory.mktemp("pantry"))
    second, first = np.sort(-Team(stack).first_features())[-2:]
    weight, bias = (
        next(slot.offset for slot in stack.layout.slots if name in slot.names) for name in ("head.weight", "head.bias")
    )
    stack.weights[0, weight] = -1e38
    stack.weights[0, bias] = float(np.finfo(np.float32).max) - 1e38 * (float(first) + float(second)) / 2
    return Team(stack)


@settings(max_examples=40)
@given(ends=CUTTINGS)
@example(ends=[0, 5, BLOCKS])
def test_one_logit_that_is_not_finite_leaves_no_set_attacked(overflowing: Team, ends: list[int]) -> None:
    request = EvaluationRequest((1.0, 0.0, 0.0))
    whole = overflowing.whole(request)
    assert whole.status == "not_finite"
    assert sum(int((each.prediction < 0).sum()) for each in whole.sets) == 1
    found = overflowing.cut(request, ends)
    assert whole.passes.forward == 50
    assert_same(found, whole)
