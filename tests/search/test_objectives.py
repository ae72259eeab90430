import pytest

from search.objectives import combine, combine_losses


def test_mean_counts_each_set_alike() -> None:
    assert combine([0.2, 0.6]) == pytest.approx(0.4)


def test_worst_is_the_least_score_and_the_greatest_loss() -> None:
    assert combine([0.2, 0.6], "worst") == 0.2
    assert combine_losses([0.2, 0.6], "worst") == 0.6


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one set"):
        combine([])
