from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.labelling import ERROR, MOST_IMAGES, suggest_labels


@given(st.integers(0, 2**16), st.integers(1, 8), st.integers(1, 20), st.integers(1, 25))
def test_different_images_in_an_order_that_tells_ever_more(seed: int, soups: int, images: int, count: int) -> None:
    predictions = np.random.default_rng(seed).integers(0, 3, (soups, images))
    found = suggest_labels(predictions, count, classes=3)
    assert len(found) == len({each.image for each in found}) == min(count, images)
    gains = [each.information for each in found]
    assert all(later >= earlier - 1e-6 for earlier, later in pairwise(gains))
    assert gains[0] >= -1e-9
    assert gains[-1] <= np.log(soups) + 1e-9
    for each in found:
        assert dict(each.votes) == dict(zip(*np.unique(predictions[:, each.image], return_counts=True), strict=True))
    assert suggest_labels(predictions, count, classes=3) == found


def test_images_on_which_all_soups_agree_go_last() -> None:
    predictions = np.array([[0, 0, 1, 2], [0, 1, 1, 0], [0, 2, 1, 1]])
    images = [each.image for each in suggest_labels(predictions, 4, classes=3)]
    assert set(images[:2]) == {1, 3}
    assert images[2:] == [0, 2]


def test_an_even_split_tells_most_about_two_kinds_of_soup() -> None:
    predictions = np.array([[0, 0], [0, 0], [1, 0], [1, 1]])
    [first, _] = suggest_labels(predictions, 2, classes=2)
    assert (first.image, first.votes) == (0, ((0, 2), (1, 2)))
    right, wrong = (1 - ERROR) / 2, ERROR / 2
    after = -2 * (right * np.log(right) + wrong * np.log(wrong))
    assert first.information == pytest.approx(np.log(4) - after)


def test_soups_that_labels_have_refuted_do_not_count() -> None:
    predictions = np.array([[0, 0], [0, 1], [1, 0]])
    known = suggest_labels(predictions, 1, classes=2, right=[30, 30, 0], labelled=30)
    assert known[0].image == 1
    refuted = suggest_labels(predictions, 1, classes=2, right=[30, 0, 30], labelled=30)
    assert refuted[0].image == 0


def test_of_many_images_those_that_soups_contest_are_compared() -> None:
    predictions = np.zeros((3, MOST_IMAGES + 500), dtype=int)
    predictions[0, -3:] = 1
    images = [each.image for each in suggest_labels(predictions, 3, classes=2)]
    assert images == list(range(MOST_IMAGES + 497, MOST_IMAGES + 500))


def test_labels_of_suggested_images_find_a_better_soup_sooner_than_random_ones() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 300)
    skill = np.linspace(0.3, 0.8, 20)
    right = rng.random((20, 300)) < skill[:, None]
    predictions = np.where(right, truth, rng.integers(0, 5, (20, 300)))
    chosen = [each.image for each in suggest_labels(predictions, 15, classes=5)]
    by_suggested = (predictions == truth)[:, chosen].sum(axis=1).argmax()
    draws = [rng.permutation(300)[:15] for _ in range(200)]
    by_random = [skill[(predictions == truth)[:, rows].sum(axis=1).argmax()] for rows in draws]
    assert skill[by_suggested] > np.mean(by_random)
