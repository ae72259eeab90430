import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from search.statistics import bootstrap_interval, compare

outcomes = st.lists(st.booleans(), min_size=2, max_size=60).map(lambda bits: np.array(bits, dtype=np.float64))


@given(outcomes)
def test_the_interval_holds_the_score(outcome: np.ndarray) -> None:
    low, high = bootstrap_interval([outcome])
    assert 0.0 <= low <= outcome.mean() <= high <= 1.0


def test_the_interval_is_as_wide_as_the_binomial_says() -> None:
    outcome = np.repeat([1.0, 0.0], [140, 60])
    low, high = bootstrap_interval([outcome])
    assert low == pytest.approx(binom.ppf(0.025, 200, 0.7) / 200, abs=0.01)
    assert high == pytest.approx(binom.ppf(0.975, 200, 0.7) / 200, abs=0.01)


def test_the_same_seed_gives_the_same_interval() -> None:
    outcome = np.linspace(0.0, 1.0, 997) ** 2
    assert bootstrap_interval([outcome], seed=3) == bootstrap_interval([outcome], seed=3)
    assert bootstrap_interval([outcome], seed=3) != bootstrap_interval([outcome], seed=4)


def test_the_worst_set_bounds_the_interval_of_the_worst() -> None:
    good, poor = np.ones(50), np.repeat([1.0, 0.0], [10, 40])
    assert bootstrap_interval([good, poor], "worst") == pytest.approx(bootstrap_interval([poor]), abs=0.06)


@given(outcomes)
def test_a_model_never_differs_from_itself(outcome: np.ndarray) -> None:
    comparison = compare([outcome], [outcome])
    assert (comparison.difference, comparison.interval, comparison.p_value) == (0.0, (0.0, 0.0), 1.0)


def test_mcnemar_counts_only_the_disagreements() -> None:
    both = np.ones(90)
    ours = np.concatenate([both, np.ones(9), np.zeros(1)])
    theirs = np.concatenate([both, np.zeros(9), np.ones(1)])
    comparison = compare([ours], [theirs])
    assert comparison.difference == pytest.approx(0.08)
    assert comparison.p_value == pytest.approx(2 * binom.cdf(1, 10, 0.5))
    assert comparison.interval[0] > 0


def test_a_set_without_images_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        bootstrap_interval([np.array([])])


def test_several_threats_are_resampled_together() -> None:
    rows = np.repeat([[1.0, 0.0], [0.0, 1.0]], 50, axis=1)
    assert bootstrap_interval([rows], over_threats="mean") == (0.5, 0.5)
    low, high = bootstrap_interval([rows], over_threats="worst")
    assert low < 0.45
    assert high <= 0.5


def test_an_image_with_several_outcomes_has_no_mcnemar_test() -> None:
    rows = np.ones((2, 30))
    comparison = compare([rows], [0 * rows], over_threats="worst")
    assert (comparison.difference, comparison.interval, comparison.p_value) == (1.0, (1.0, 1.0), None)
