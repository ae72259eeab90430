"""Folds that have their share of every class."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.folds import stratified_folds

LABELS = st.lists(st.integers(0, 6), max_size=80)


@given(LABELS, st.integers(1, 12))
def test_folds_are_even_in_all_images_and_in_every_class(labels: list[int], folds: int) -> None:
    found = stratified_folds(labels, folds)
    assert found.dtype == np.dtype(np.intp)
    assert found.shape == (len(labels),)
    for chosen in (found, *(found[np.array(labels) == label] for label in set(labels))):
        counts = np.bincount(chosen, minlength=folds)
        assert len(counts) == folds
        assert counts.max() - counts.min() <= 1


@given(LABELS, st.integers(1, 12), st.randoms())
def test_the_order_of_images_does_not_tell_how_a_class_is_cut(
    labels: list[int], folds: int, random: "np.random.Generator"
) -> None:
    shuffled = list(labels)
    random.shuffle(shuffled)
    for label in set(labels):
        cuts = [sorted(stratified_folds(each, folds)[np.array(each) == label]) for each in (labels, shuffled)]
        assert cuts[0] == cuts[1]


def test_images_in_the_order_of_their_classes_are_cut_by_place() -> None:
    assert stratified_folds([0] * 4 + [3] * 5, 5).tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3]
    assert stratified_folds([0, 1] * 4, 2).tolist() == [0, 0, 1, 1, 0, 0, 1, 1]
