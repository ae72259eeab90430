"""Which images of a set select a soup, and which are held out to score it on."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Rows = tuple[int, ...]


@dataclass(frozen=True)
class Split:
    """Image indices of one set, each in increasing order: of its labelled images together, or of the others."""

    selection: Rows
    held_out: Rows


def split_images(rows: Rows, accepted: Sequence[Sequence[int]], fraction: float, seed: int) -> Split:
    """Hold out ``fraction`` of ``rows``, rounded, in proportion to the classes (by first accepted label).

    ``seed`` draws the images within a class; those without a label are one. Every class keeps at least one image for
    selection.
    """
    rng = np.random.default_rng(seed)
    images, labels = np.array(rows), np.array([_first(accepted[row]) for row in rows])
    classes, sizes = np.unique(labels, return_counts=True)
    held_out: list[int] = []
    for label, count in zip(classes, _shares(sizes, round(fraction * len(labels))), strict=True):
        held_out += rng.permutation(images[labels == label])[:count].tolist()
    chosen = frozenset(held_out)
    return Split(tuple(row for row in rows if row not in chosen), tuple(sorted(held_out)))


def _first(columns: Sequence[int]) -> int:
    return columns[0] if columns else -1


def _shares(sizes: NDArray[np.intp], total: int) -> list[int]:
    """``total`` split in proportion to ``sizes``, each share less than its size: the largest remainders round up."""
    exact = total * sizes / sizes.sum()
    shares = np.minimum(exact.astype(int), sizes - 1)
    while shares.sum() < total and (room := shares < sizes - 1).any():
        shares[np.argmax(np.where(room, exact - shares, -np.inf))] += 1
    return [int(share) for share in shares]


def spread(rows: Rows, accepted: Sequence[Sequence[int]], count: int) -> Rows:
    """At most ``count`` of ``rows``, in their order, spread evenly over the classes (by first accepted label)."""
    if len(rows) <= count:
        return rows
    by_class = sorted(rows, key=lambda row: _first(accepted[row]))
    return tuple(sorted(by_class[place] for place in np.linspace(0, len(rows) - 1, count).round().astype(int)))
