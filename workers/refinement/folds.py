"""Which images are left out together when a refinement is cross-validated."""

from collections.abc import Sequence

import torch
from torch import Tensor

from search.evaluation import FOLDS, LEAST_LABELLED


def folds_of(sizes: Sequence[int]) -> Tensor:
    """The fold of each image of sets of these sizes, one set after the other: its place in its set modulo ``FOLDS``.

    Images of a set are in the order of their classes, so each fold has its share of every class. int64 of shape (N,).

    Raises ValueError for fewer than ``LEAST_LABELLED`` images, or a fold without any.
    """
    folds = torch.cat([torch.arange(size) % FOLDS for size in (0, *sizes)])
    if len(folds) < LEAST_LABELLED or not torch.bincount(folds, minlength=FOLDS).all():
        raise ValueError(
            f"a last layer or a temperature is fitted to {LEAST_LABELLED} labelled images or more, with {FOLDS} in one "
            f"set at least: label more images than {len(folds)}, or keep the soup's own last layer and temperature"
        )
    return folds
