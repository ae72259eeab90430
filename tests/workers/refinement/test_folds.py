"""Folds of images in the order of their classes."""

import pytest
import torch

from search.evaluation import FOLDS
from workers.refinement.folds import folds_of


def test_a_fold_has_its_share_of_each_class_of_each_set() -> None:
    folds = folds_of([100, 33])
    assert folds.tolist() == [place % FOLDS for size in (100, 33) for place in range(size)]
    classes = torch.arange(100) // 10
    assert all(classes[folds[:100] == fold].bincount().tolist() == [2] * 10 for fold in range(FOLDS))


@pytest.mark.parametrize("sizes", [[], [9], [5, 4], [1] * 20, [4] * 20])
def test_too_few_images_are_refused(sizes: list[int]) -> None:
    with pytest.raises(ValueError, match="label more images"):
        folds_of(sizes)
