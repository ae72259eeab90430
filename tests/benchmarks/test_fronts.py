"""The fronts that bayes finds of made-up soups, beside those that ParEGO finds."""

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.search.fronts import AFTER, compared, hypervolume, made_up_pairs
from search.objectives import Metric


def test_the_hypervolume_of_a_staircase() -> None:
    values: NDArray[np.float64] = np.array([[3.0, 1.0], [1.0, 3.0], [2.0, 2.0], [1.0, 1.0], [-1.0, 5.0]])
    assert hypervolume(values, np.zeros(2)) == 6.0
    assert hypervolume(values, np.array([2.0, 0.0])) == 1.0


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_twenty_evaluations_find_nearly_the_whole_front_and_more_than_parego(metric: Metric) -> None:
    twenty = AFTER.index(20)
    for pair in made_up_pairs(2):
        shares = {each.rule: each.shares[twenty] for each in compared(pair, "made up", metric, seeds=1)}
        assert shares["expected hypervolume"] >= 0.995
        assert shares["expected hypervolume"] >= shares["ParEGO"]
