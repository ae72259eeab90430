"""Outcomes put together from blocks that several evaluators evaluated."""

from functools import cache
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from search.evaluation import EvaluationRequest, Outcome, joined
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

    def _part(self, request: EvaluationRequest, place: int) -> Outcome:
        return self._pair[place].answer(request)


@pytest.fixture(scope="module")
def team(stack: IngredientStack) -> Team:
    return Team(stack)


@pytest.mark.parametrize("attacked", [False, True], ids=["clean", "attacked"])
@pytest.mark.parametrize("model", [WEIGHTS, "softmax"], ids=["soup", "ensemble"])
@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=CUTTINGS)
def test_any_cutting_gives_the_outcome_of_the_whole(team: Team, model: object, attacked: bool, ends: list[int]) -> None:
    request = EvaluationRequest(model, attacked=attacked, keep_logits=True)
    whole = team.whole(request)
    assert [each.robust is not None for each in whole.sets] == [attacked] * 2
    assert [each.seen for each in whole.sets] == [33, 17]
    assert_same(team.cut(request, ends), whole)


@pytest.fixture(scope="module")
def infinite(tmp_path_factory: pytest.TempPathFactory) -> Team:
    """Only some images of the soup ``WEIGHTS`` have logits that are not finite."""
    stack = vit_stack(tmp_path_factory.mktemp("pantry"))
    head = next(slot for slot in stack.layout.slots if "head.bias" in slot.names)
    stack.weights[0, head.offset] = 3e38
    return Team(stack)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(ends=CUTTINGS)
def test_parts_that_are_not_finite_give_the_outcome_of_the_whole(infinite: Team, ends: list[int]) -> None:
    request = EvaluationRequest((1.4, -0.4, 0.0))
    whole = infinite.whole(request)
    assert whole.status == "not_finite"
    assert_same(infinite.cut(request, ends), whole)


def test_sets_whose_images_one_part_alone_saw_are_joined_without_attacks_when_another_part_is_not_finite(
    team: Team,
) -> None:
    parts = [team.whole(EvaluationRequest(WEIGHTS, blocks)) for blocks in ((0, 5), (5, 8))]
    bad = Outcome("not_finite", tuple(each for each in team.whole(EvaluationRequest(WEIGHTS, (5, 8), False)).sets))
    found = joined([parts[0], bad])
    assert found.status == "not_finite"
    assert [each.robust for each in found.sets] == [None, None]
    np.testing.assert_array_equal(found.sets[0].prediction, joined(parts).sets[0].prediction)
