import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t

from search.resampling import Resamples, crossed_interval, percentile_interval, sample_interval


@given(st.integers(1, 50), st.integers(0, 5))
def test_each_resample_weighs_as_many_images_as_there_are(images: int, seed: int) -> None:
    shares = Resamples(images, seed, resamples=20).shares
    assert shares.shape == (20, images)
    assert np.allclose(shares.sum(axis=1), 1)
    assert np.allclose(shares * images, np.round(shares * images))


def test_the_interval_has_the_width_that_theory_says() -> None:
    outcomes = np.arange(1000) % 4 == 0
    low, high = Resamples(1000).interval(outcomes)
    assert low < 0.25 < high
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(0.25 * 0.75 / 1000), rel=0.1)


def test_differences_are_paired() -> None:
    resamples = Resamples(200)
    ours = np.random.default_rng(0).random(200) < 0.5
    assert np.ptp(resamples.means(ours) - resamples.means(ours)) == 0
    assert percentile_interval(resamples.means(ours) - resamples.means(~ours))[0] < 0


def test_means_keep_leading_axes() -> None:
    values = np.random.default_rng(0).random((2, 3, 10))
    means = Resamples(10, resamples=7).means(values)
    assert means.shape == (2, 3, 7)
    assert np.allclose(means[1, 2], Resamples(10, resamples=7).means(values[1, 2]))


def test_no_images_have_no_interval() -> None:
    with pytest.raises(ValueError, match="at least one image"):
        Resamples(0)


def test_a_crossed_interval_knows_both_sources_of_variation() -> None:
    rng = np.random.default_rng(1)
    rows, columns = rng.normal(size=(50, 1)), rng.normal(size=(1, 80))
    both = np.subtract(*crossed_interval(rows + columns)[::-1])
    only_rows = np.subtract(*crossed_interval(rows + 0 * columns)[::-1])
    only_columns = np.subtract(*crossed_interval(0 * rows + columns)[::-1])
    assert both == pytest.approx(np.hypot(only_rows, only_columns), rel=0.1)


def test_the_interval_over_few_values_is_students() -> None:
    values = np.array([1.0, 2.0, 4.0])
    low, high = sample_interval(values)
    assert (low, high) == pytest.approx(t.interval(0.95, 2, values.mean(), values.std(ddof=1) / np.sqrt(3)))
    assert sample_interval(np.array([1.0])) == (float("-inf"), float("inf"))
