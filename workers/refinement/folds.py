"""Which images are left out together when a refinement is cross-validated."""

from collections.abc import Sequence

import torch
from torch import Tensor

from search.evaluation import LEAST_LABELLED, REFINEMENT_FOLDS
from search.folds import stratified_folds


def folds_of(labels: Sequence[Sequence[int]]) -> Tensor:
    """The fold of each image of several sets, one set after the other, given the label of each; int64 of shape (N,).

    Each fold has its share of every class of each set, see ``stratified_folds``.

    Raises ValueError for fewer than ``LEAST_LABELLED`` images, or a fold without any.
    """
    parts = [torch.from_numpy(stratified_folds(each, REFINEMENT_FOLDS)) for each in ([], *labels)]
    folds = torch.cat(parts).to(torch.int64)
    if len(folds) < LEAST_LABELLED or not torch.bincount(folds, minlength=REFINEMENT_FOLDS).all():
        raise ValueError(
            f"a last layer or a temperature is fitted to {LEAST_LABELLED} labelled images or more, with "
            f"{REFINEMENT_FOLDS} in one set at least: label more images than {len(folds)}, or keep the soup's own last "
            "layer and temperature"
        )
    return folds
