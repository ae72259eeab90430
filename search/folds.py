"""Parts of labelled images that are left out one after the other."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


def stratified_folds(labels: Sequence[int] | NDArray[np.integer[Any]], folds: int) -> NDArray[np.intp]:
    """The fold of each image, 0 to ``folds - 1``, intp of shape (N,), for one label an image.

    Images are dealt to the folds one after the other, in the order of their labels, and those of one label in their
    own order: folds differ by at most one image, and by at most one of each label. Where all labels are equal, an
    image's fold is its place modulo ``folds``.
    """
    dealt = np.empty(len(labels), dtype=np.intp)
    dealt[np.argsort(np.asarray(labels), kind="stable")] = np.arange(len(labels)) % folds
    return dealt
