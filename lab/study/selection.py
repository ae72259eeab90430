"""Which soup a search would choose, for many draws of images at once."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from lab.study.results import Flags, PantryResults, ShiftTable
from search.ranking import NLL_DIGITS, distance_to_uniform

By = Literal["accuracy", "nll"]
Indices = NDArray[np.intp]


class Chooser:
    """Ranks the soups ``candidates`` (rows of ``soups``) as ``search.ranking`` does: best first, ties broken alike.

    A soup with an infinite loss on a chosen image (logits that are not finite) is never best.
    """

    def __init__(self, soups: NDArray[np.float64], candidates: Indices | Flags) -> None:
        rows = np.arange(len(soups))[candidates]
        self.rows: Indices = np.array(sorted(rows, key=lambda row: _preference(soups[row])), dtype=np.intp)

    @classmethod
    def of(cls, results: PantryResults, *, convex: bool = False) -> Chooser:
        """All soups of the lattice, or those without negative weights."""
        allowed = results.on_lattice & ((results.soups >= 0).all(axis=1) if convex else True)
        return cls(results.soups, np.asarray(allowed))

    def top(self, table: ShiftTable, draws: NDArray[np.floating], count: int, by: By = "accuracy") -> Indices:
        """The best ``count`` soups for each of D draws: rows of the table, shape (D, count).

        ``draws`` (D, N) says how often each image is in a draw.
        """
        scores, losses = self._means(table.correct, table.nll, draws)
        best: Indices = self.rows[_order(scores, losses, by)[:, :count]]
        return best

    def top_of_mean(self, tables: Sequence[ShiftTable], count: int) -> Indices:
        """The best ``count`` soups by their mean over the selection images of several sets with equal weight."""
        means = [self._means(table.correct, table.nll, selection_draw(table)) for table in tables]
        scores, losses = zip(*means, strict=True)
        best: Indices = self.rows[_order(np.mean(scores, axis=0), np.mean(losses, axis=0), "accuracy")[0, :count]]
        return best

    def _means(
        self, correct: Flags, nll: NDArray[np.float32], draws: NDArray[np.floating]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Accuracy and mean loss of shape (D, soups); the loss is infinite if logits were not finite."""
        sizes = draws.sum(axis=1, keepdims=True)
        weights = np.asarray(draws, dtype=np.float64)
        losses = nll[self.rows].astype(np.float64)
        broken = ~np.isfinite(losses)
        mean_loss = weights @ np.where(broken, 0.0, losses).T / sizes
        if broken.any():
            mean_loss[weights @ broken.T > 0] = np.inf
        return weights @ correct[self.rows].T.astype(np.float64) / sizes, mean_loss


def selection_draw(table: ShiftTable) -> NDArray[np.float64]:
    """The draw (1, N) of all selection images."""
    return (np.arange(table.correct.shape[1]) < table.selection)[None].astype(np.float64)


def best_of(chooser: Chooser, table: ShiftTable, by: By = "accuracy") -> int:
    """The row of the soup that the table's selection images choose."""
    return int(chooser.top(table, selection_draw(table), 1, by)[0, 0])


def _order(scores: NDArray[np.float64], losses: NDArray[np.float64], by: By) -> Indices:
    """Positions (D, soups), best first; equal soups keep their order."""
    finite = np.isfinite(losses)
    rounded = np.round(losses, NLL_DIGITS)
    first = np.where(finite, -scores if by == "accuracy" else rounded, np.inf)
    second = rounded if by == "accuracy" else -scores
    return np.stack([np.lexsort((after, before)) for before, after in zip(first, second, strict=True)])


def _preference(weights: NDArray[np.float64]) -> tuple[float, tuple[float, ...]]:
    point = tuple(weights.tolist())
    return distance_to_uniform(point), point
