"""Which images select a soup, and which are held out to score it on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

Rows = tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Image indices of one set, each in increasing order; together they are all of its images."""

    selection: Rows
    held_out: Rows


def split_images(accepted: Sequence[Sequence[int]], fraction: float, seed: int) -> Split:
    """Hold out ``fraction`` of the images of each class (by the first accepted label), drawn with ``seed``.

    The number held out is rounded down in each class, so that every class keeps an image to select by.
    """
    rng = np.random.default_rng(seed)
    labels = np.array([labels[0] for labels in accepted])
    held_out: list[int] = []
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        held_out += rng.permutation(rows)[: int(fraction * len(rows))].tolist()
    chosen = frozenset(held_out)
    selection = tuple(row for row in range(len(labels)) if row not in chosen)
    return Split(selection, tuple(sorted(held_out)))


def spread(rows: Rows, count: int) -> Rows:
    """At most ``count`` of ``rows``, evenly spread: images of a set are in the order of their classes."""
    if len(rows) <= count:
        return rows
    return tuple(rows[position] for position in np.linspace(0, len(rows) - 1, count).round().astype(int))
