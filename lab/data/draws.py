"""Class-balanced draws of images, without replacement and from a seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray


def disjoint_draws(labels: NDArray[np.int64], counts: Sequence[int], seed: int, classes: int) -> list[NDArray[np.intp]]:
    """Disjoint sets of image indices, one for each size in ``counts``, each with the same number of every class.

    Raises ValueError if a count is not a multiple of ``classes`` or a class has too few images.
    """
    if any(count % classes for count in counts):
        raise ValueError(f"the counts {list(counts)} must be multiples of the {classes} classes")
    rng = np.random.default_rng(seed)
    shares = [count // classes for count in counts]
    parts: list[list[NDArray[np.intp]]] = [[] for _ in counts]
    for label in range(classes):
        members = rng.permutation(np.flatnonzero(labels == label))
        if len(members) < sum(shares):
            raise ValueError(f"class {label} has {len(members)} images; {sum(shares)} are needed")
        for part, drawn in zip(parts, np.split(members, np.cumsum(shares)), strict=False):
            part.append(drawn)
    return [np.sort(np.concatenate(part)) for part in parts]


def balanced_draw(labels: Sequence[int], count: int, seed: int) -> list[int]:
    """Indices of ``count`` images, in order, spread as evenly over the classes as their images allow.

    Classes take turns, in an order drawn from the seed, until ``count`` images are drawn: classes with images left
    differ by at most one. Raises ValueError if there are fewer than ``count`` images, or ``count`` < 1.
    """
    if not 1 <= count <= len(labels):
        raise ValueError(f"{count} images cannot be drawn from {len(labels)}")
    rng = np.random.default_rng(seed)
    shuffled = rng.permutation(len(labels))
    turn_of_class = {label: turn for turn, label in enumerate(rng.permutation(sorted(set(labels))).tolist())}
    taken: dict[int, int] = {}
    turns = []
    for index in shuffled.tolist():
        label = labels[index]
        taken[label] = taken.get(label, 0) + 1
        turns.append((taken[label], turn_of_class[label], index))
    return sorted(index for _, _, index in sorted(turns)[:count])
