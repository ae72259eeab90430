"""Folds of the images of several sets."""

import pytest
import torch

from search.evaluation import REFINEMENT_FOLDS
from workers.refinement.folds import folds_of


@pytest.mark.parametrize("interleaved", [False, True])
def test_a_fold_has_its_share_of_each_class_of_each_set(interleaved: bool) -> None:
    sets = [[place % 10 if interleaved else place // 10 for place in range(size)] for size in (100, 33)]
    folds = folds_of(sets)
    for part, labels in zip((folds[:100], folds[100:]), sets, strict=True):
        for label in set(labels):
            counts = part[torch.tensor(labels) == label].bincount(minlength=REFINEMENT_FOLDS)
            assert counts.max() - counts.min() <= 1
    if not interleaved:
        assert folds.tolist() == [place % REFINEMENT_FOLDS for size in (100, 33) for place in range(size)]


@pytest.mark.parametrize("sizes", [[], [9], [5, 4], [1] * 20, [4] * 20])
def test_too_few_images_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="label more images"):
        folds_of([[0] * size for size in sizes])
