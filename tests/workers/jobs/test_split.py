"""Held-out images."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from workers.jobs.split import split_images, spread

LABELS = st.lists(st.integers(0, 5), min_size=1, max_size=80)


@given(labels=LABELS, fraction=st.floats(0, 0.9), seed=st.integers(0, 2**32 - 1))
def test_a_split_is_a_stratified_partition(labels: list[int], fraction: float, seed: int) -> None:
    rows = tuple(range(len(labels)))
    split = split_images(rows, [(label,) for label in labels], fraction, seed)
    assert sorted(split.selection + split.held_out) == list(range(len(labels)))
    assert list(split.selection) == sorted(split.selection)
    held_out = Counter(labels[row] for row in split.held_out)
    counts = Counter(labels)
    assert len(split.held_out) == min(round(fraction * len(labels)), len(labels) - len(counts))
    if len(split.held_out) == round(fraction * len(labels)) and min(counts.values()) * (1 - fraction) >= 2:
        assert all(abs(held_out[label] - fraction * count) < 2 for label, count in counts.items())
    assert {labels[row] for row in split.selection} == set(labels)
    assert split == split_images(rows, [(label,) for label in labels], fraction, seed)


def test_another_seed_holds_out_other_images() -> None:
    rows, labels = tuple(range(60)), [(index % 3,) for index in range(60)]
    assert split_images(rows, labels, 0.5, 0).held_out != split_images(rows, labels, 0.5, 1).held_out


def test_without_a_fraction_all_images_select() -> None:
    assert split_images((0, 1), [(0,), (1,)], 0.0, 7).selection == (0, 1)


def test_only_the_given_images_are_split() -> None:
    accepted: list[tuple[int, ...]] = [(), (0,), (), (1,), (), ()]
    labelled, others = (split_images(rows, accepted, 0.5, 3) for rows in ((1, 3), (0, 2, 4, 5)))
    assert labelled.selection == (1, 3)
    assert sorted(others.selection + others.held_out) == [0, 2, 4, 5]
    assert len(others.held_out) == 2


@given(rows=st.lists(st.integers(0, 999), unique=True, min_size=1).map(sorted), count=st.integers(1, 50))
def test_spread_rows_are_some_of_them_in_order(rows: list[int], count: int) -> None:
    chosen = spread(tuple(rows), [(row % 7,) for row in range(1000)], count)
    assert len(chosen) == min(count, len(rows))
    assert list(chosen) == sorted(set(chosen))
    assert set(chosen) <= set(rows)


@pytest.mark.parametrize("interleaved", [False, True])
def test_spread_rows_reach_every_class(interleaved: bool) -> None:
    labels = [row % 10 if interleaved else row // 100 for row in range(1000)]
    chosen = spread(tuple(range(1000)), [(label,) for label in labels], 20)
    assert Counter(labels[row] for row in chosen) == dict.fromkeys(range(10), 2)


@pytest.mark.parametrize("count", [1, 2])
def test_few_spread_rows(count: int) -> None:
    assert len(spread((5, 6, 7), [(0,)] * 8, count)) == count
    assert len(spread((5, 6, 7), [()] * 8, count)) == count
