"""Outcomes put together from blocks that several evaluators evaluated."""

from functools import cache

from hypothesis import strategies as st

from search.evaluation import EvaluationRequest, Outcome
from tests.workers.evaluation.images import random_set
from workers.attacks.apgd import Settings
from workers.attacks.threat import Threat
from workers.evaluation.adversary import Attack
from workers.evaluation.evaluator import Evaluator
from workers.soups.stack import IngredientStack

WEIGHTS = (0.6, 0.8, -0.4)
BLOCKS = 7
ATTACKS: list[Attack] = [
    (Threat("Linf", 0.05), Settings(steps=3)),
    (Threat("L2", 0.3), Settings(steps=3, loss="dlr", restarts=2)),
]
CUTTINGS = st.sets(st.integers(1, BLOCKS - 1)).map(lambda cuts: [0, *sorted(cuts), BLOCKS])


class Team:
    """Two evaluators that take parts in turn, the second after other soups."""

    def __init__(self, stack: IngredientStack, attacks: list[Attack]) -> None:
        sets = [random_set(33), random_set(17, seed=5)]
        self._pair = [Evaluator(stack, sets, batch_size=8, attacks=attacks, seed=7) for _ in range(2)]
        self._pair[1].evaluate((1.4, -0.2, -0.2))
        assert self._pair[0].blocks == BLOCKS + 1
        self.part = cache(self._part)

    def _part(self, request: EvaluationRequest, place: int) -> Outcome:
        return self._pair[place].answer(request)
