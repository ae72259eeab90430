"""The methods compared on shifted data: soups chosen in several ways, ingredients, ensembles, other models."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from lab.study.averages import Outcomes
from lab.study.results import LOGITS, SOFTMAX, Flags, PantryResults, ShiftTable
from lab.study.selection import Chooser, best_of

SPECIFIC = "dataset-specific soups"
CONVEX = "dataset-specific soups without negative weights"
SINGLE = "single soup"
UNIFORM = "uniform soup"
BEST_INGREDIENT = "best ingredient of each set"
BEST_SINGLE_INGREDIENT = "best single ingredient"
ENSEMBLE_OF_TWO = "softmax ensemble of 2"
ENSEMBLE_OF_ALL = "softmax ensemble of all"
LOGIT_ENSEMBLE = "logit ensemble of all"


def methods(results: PantryResults) -> dict[str, Outcomes]:
    """Held-out outcomes of each method on each set. Every choice is made on the selection images alone.

    The single soup, the single ingredient and the ensemble of two are chosen by their mean over all sets.
    """
    tables = results.tables
    soups: dict[str, Outcomes] = {name: _by_rows(tables, rows) for name, rows in _soup_rows(results).items()}
    pair = best_pair(results)
    apart = [name for name in tables[0].others if not name.startswith((SOFTMAX, LOGITS))]
    everything = " + ".join(results.ingredients)
    others = {ENSEMBLE_OF_TWO: pair, ENSEMBLE_OF_ALL: SOFTMAX + everything, LOGIT_ENSEMBLE: LOGITS + everything}
    others |= {name: name for name in apart}
    return soups | {name: {t.shift.name: t.other_held_out(key) for t in tables} for name, key in others.items()}


def _soup_rows(results: PantryResults) -> dict[str, Callable[[ShiftTable], int]]:
    everywhere, convex = Chooser.of(results), Chooser.of(results, convex=True)
    ingredients = Chooser(results.soups, np.array(results.ingredient_rows, dtype=np.intp))
    single = int(everywhere.top_of_mean(results.tables, 1)[0])
    single_ingredient = int(ingredients.top_of_mean(results.tables, 1)[0])
    fixed = dict(zip(results.ingredients, results.ingredient_rows, strict=True))
    fixed |= {BEST_SINGLE_INGREDIENT: single_ingredient, UNIFORM: results.uniform_row, SINGLE: single}
    rows: dict[str, Callable[[ShiftTable], int]] = {name: _always(row) for name, row in fixed.items()}
    return rows | {
        SPECIFIC: lambda table: best_of(everywhere, table),
        CONVEX: lambda table: best_of(convex, table),
        BEST_INGREDIENT: lambda table: best_of(ingredients, table),
    }


def _always(row: int) -> Callable[[ShiftTable], int]:
    return lambda _: row


def _by_rows(tables: Sequence[ShiftTable], row_of: Callable[[ShiftTable], int]) -> dict[str, Flags]:
    return {table.shift.name: table.held_out[row_of(table)] for table in tables}


def single_soup(results: PantryResults) -> tuple[float, ...]:
    """The weights of the single soup."""
    row = Chooser.of(results).top_of_mean(results.tables, 1)[0]
    return tuple(results.soups[row].tolist())


def best_pair(results: PantryResults) -> str:
    """The ensemble of two ingredients with the best mean accuracy on the selection images of all sets."""
    names = [name for name in results.tables[0].others if name.startswith(SOFTMAX) and name.count(" + ") == 1]

    def score(name: str) -> float:
        return float(np.mean([table.others[name][: table.selection].mean() for table in results.tables]))

    return max(names, key=score)
