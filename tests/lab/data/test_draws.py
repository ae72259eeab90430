from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lab.data.draws import balanced_draw, disjoint_draws

labels = st.lists(st.integers(0, 5), min_size=1, max_size=60)


@given(labels, st.data(), st.integers(0))
def test_a_balanced_draw_differs_by_one_among_classes_with_images_left(
    labels: list[int], data: st.DataObject, seed: int
) -> None:
    count = data.draw(st.integers(1, len(labels)))
    drawn = balanced_draw(labels, count, seed)
    assert drawn == sorted(set(drawn))
    assert len(drawn) == count
    taken, there = Counter(labels[index] for index in drawn), Counter(labels)
    most = max(taken.values())
    assert all(taken[label] >= min(most - 1, there[label]) for label in there)
    assert drawn == balanced_draw(labels, count, seed)


def test_with_fewer_images_than_classes_the_seed_chooses_the_classes() -> None:
    chosen = {tuple(balanced_draw(list(range(10)), 3, seed)) for seed in range(20)}
    assert len(chosen) > 10


@pytest.mark.parametrize("count", [0, 4])
def test_a_balanced_draw_needs_enough_images(count: int) -> None:
    with pytest.raises(ValueError, match=f"{count} images cannot be drawn from 3"):
        balanced_draw([0, 1, 1], count, 0)


@given(st.integers(0), st.integers(1, 4), st.integers(1, 4))
def test_disjoint_draws_are_balanced_and_apart(seed: int, first: int, second: int) -> None:
    labels = np.repeat(np.arange(3), 8)
    draws = disjoint_draws(labels, (3 * first, 3 * second), seed, classes=3)
    assert [Counter(labels[draw].tolist()) for draw in draws] == [
        Counter(dict.fromkeys(range(3), share)) for share in (first, second)
    ]
    assert not set(draws[0].tolist()) & set(draws[1].tolist())


def test_disjoint_draws_refuse_uneven_counts_and_small_classes() -> None:
    with pytest.raises(ValueError, match="multiples of the 2 classes"):
        disjoint_draws(np.array([0, 1, 0, 1]), (1, 2), 0, classes=2)
    with pytest.raises(ValueError, match="class 1 has 1 images; 2 are needed"):
        disjoint_draws(np.array([0, 0, 1]), (2, 2), 0, classes=2)
