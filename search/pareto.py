"""Pareto fronts: the soups that no other soup beats in every objective."""

from collections.abc import Sequence
from functools import cache
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

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


def expected_improvement(
    known: NDArray[np.float64],
    reference: NDArray[np.float64],
    mean: NDArray[np.float64],
    deviation: NDArray[np.float64],
) -> NDArray[np.float64]:
    """By how much each of q soups is expected to enlarge the hypervolume that the ``known`` soups dominate, (q,).

    The values of the ``known``, (m, k), and the independent normal ones of the others, ``mean`` and ``deviation``
    (q, k), are k objectives of which more is better. The hypervolume is that above ``reference`` (k,). With one
    objective this is the expected improvement on the best.

    It is exact: what is not dominated is cut into boxes, slice by slice of the last objective, and in each box the
    expectation is a product of what each objective contributes (Emmerich, Deutz and Klinkenberg, CEC 2011; Daulton,
    Balandat and Bakshy, NeurIPS 2020, section 3).
    """

    @cache
    def above(place: int, least: float) -> NDArray[np.float64]:
        """How far an objective is expected to lie above a value, counted as zero below it."""
        error = deviation[:, place]
        ahead = (mean[:, place] - least) / error
        return np.asarray(error * (ahead * ndtr(ahead) + np.exp(-(ahead**2) / 2) / np.sqrt(2 * np.pi)))

    def gained(front: NDArray[np.float64], last: int) -> NDArray[np.float64]:
        """The expected growth in the objectives up to the ``last``, (q,), beyond what ``front`` dominates in them."""
        front = front[:, : last + 1]
        if last == 0:
            return above(0, float(front.max(initial=reference[0])))
        levels = np.unique(front[non_dominated(front), last])
        edges = [float(reference[last]), *levels[levels > reference[last]].tolist(), np.inf]
        total = np.zeros(len(mean))
        for low, high in pairwise(edges):
            within = above(last, low) - (0.0 if high == np.inf else above(last, high))
            total += within * gained(front[front[:, last] >= high], last - 1)
        return total

    return gained(known, known.shape[1] - 1)
