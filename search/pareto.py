"""Pareto fronts: the soups that no other soup beats in every objective."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.ranking import S, rank


def non_dominated(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which rows of ``values``, shape (soups, objectives), greater is better, no other row dominates.

    A row dominates another when it is at least as great everywhere and greater somewhere; equal rows do not dominate
    each other. A row can only be dominated by one before it in descending lexicographic order, and then also by
    one of the front found so far (Kung, Luccio and Preparata, JACM 1975).
    """
    kept = np.zeros(len(values), dtype=bool)
    if not len(values):
        return kept
    rows, inverse = np.unique(-values, axis=0, return_inverse=True)
    front = np.empty_like(rows)
    size = 0
    is_kept = np.zeros(len(rows), dtype=bool)
    for place, row in enumerate(rows):
        if not (front[:size] <= row).all(axis=1).any():
            front[size] = row
            size += 1
            is_kept[place] = True
    kept[:] = is_kept[inverse.reshape(-1)]
    return kept


def pareto_front(soups: Sequence[S]) -> list[S]:
    """The front of ``soups``, best in the first objective first; of soups with equal values, only the best ranked.

    Only soups with the least violation of the constraints take part: if any soup meets them all, only such soups. The
    first of the front is the best ranked of all. Soups without a score are left out.
    """
    ranked = rank(soups)
    distinct: dict[tuple[float, ...], S] = {}
    for soup in ranked:
        if soup.violation == ranked[0].violation:
            distinct.setdefault(tuple(soup.objectives.values()), soup)
    kept = non_dominated(np.array(list(distinct), dtype=np.float64))
    return [soup for soup, is_kept in zip(distinct.values(), kept, strict=True) if is_kept]
