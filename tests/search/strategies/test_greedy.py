from collections.abc import Mapping

import numpy as np
import pytest

from search.evaluation import Outcome, SetOutcome, Weights
from search.objectives import Objectives
from search.space import SearchError, Space
from search.strategies.greedy import KIND, Greedy


def outcome(right: int) -> Outcome:
    correct = np.arange(10) < right
    return Outcome("complete", (SetOutcome(10, correct.astype(np.int32), correct, np.zeros(10, np.float32)),))


def searched(scores: Mapping[Weights, int], size: int) -> list[Weights]:
    strategy = KIND.start(Greedy(), Space(size), Objectives(), 0)
    proposed: list[Weights] = []
    while (soups := strategy.propose()) is not None:
        proposed += [soup.weights for soup in soups]
        strategy.learn([outcome(scores[soup.weights]) for soup in soups])
    return proposed


def test_ingredients_join_in_the_order_of_their_scores_unless_the_soup_gets_worse() -> None:
    third = 1 / 3
    scores: dict[Weights, int] = {
        (1.0, 0.0, 0.0): 5,
        (0.0, 1.0, 0.0): 7,
        (0.0, 0.0, 1.0): 6,
        (0.0, 0.5, 0.5): 6,  # worse than the second alone: the third stays out
        (0.5, 0.5, 0.0): 7,  # a tie is kept
    }
    assert searched(scores, 3) == list(scores)
    better: dict[Weights, int] = scores | {(0.0, 0.5, 0.5): 8, (third, third, third): 8}
    assert searched(better, 3)[3:] == [(0.0, 0.5, 0.5), (third, third, third)]


def test_it_ends_where_no_ingredient_has_a_score() -> None:
    strategy = KIND.start(Greedy(), Space(2), Objectives(), 0)
    assert strategy.propose() is not None
    strategy.learn([Outcome("not_finite", outcome(0).sets)] * 2)
    assert strategy.propose() is None


def test_bounds_are_refused() -> None:
    with pytest.raises(SearchError, match="leave fixed and bounds out"):
        KIND.bound(Greedy(), Space(2, ((0, 1), (0, 1))))
