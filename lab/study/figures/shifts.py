"""Soups on shifts: accuracy of the soup chosen for each set, beside its competitors (Croce et al., Fig 6)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from lab.study.averages import Outcomes
from lab.study.figures.drawing import colour, panels, to_svg
from lab.study.methods import BEST_INGREDIENT, ENSEMBLE_OF_ALL, SINGLE, SPECIFIC
from lab.study.results import PantryResults
from lab.study.selection import Chooser
from search.resampling import shared_resamples

OPTIMISTIC = "best soup on all images"
SHOWN = (BEST_INGREDIENT, ENSEMBLE_OF_ALL, SINGLE, SPECIFIC)


@dataclass(frozen=True)
class ShiftScore:
    """One method on one set: its accuracy on the held-out images and the interval over these."""

    pantry: str
    set: str
    corruption: str
    severity: int
    method: str
    accuracy: float
    low: float
    high: float
    images: int


def shift_scores(results: PantryResults, outcomes: Mapping[str, Outcomes]) -> list[ShiftScore]:
    """Every method on every set.

    ``best soup on all images`` is what Fig 6 of the paper shows: it is chosen and scored on the same images, so it is
    optimistic.
    """
    return [score for table in results.tables for score in _scores_of(results, table.shift.name, outcomes)]


def _scores_of(results: PantryResults, name: str, outcomes: Mapping[str, Outcomes]) -> list[ShiftScore]:
    table = next(each for each in results.tables if each.shift.name == name)
    shift = table.shift
    best = Chooser.of(results).top(table, np.ones((1, table.correct.shape[1])), 1)[0, 0]
    rows = {method: each[name] for method, each in outcomes.items()} | {OPTIMISTIC: table.correct[best]}
    scores = []
    for method, outcome in rows.items():
        interval = shared_resamples(len(outcome)).interval(outcome)
        about = (results.name, name, shift.corruption or "", shift.severity or 0, method)
        scores.append(ShiftScore(*about, float(outcome.mean()), *interval, len(outcome)))
    return scores


def draw_shifts(scores: Sequence[ShiftScore], name: str) -> str:
    """Gain in points over the ingredient chosen for each set, at the highest severity of each corruption."""
    shown = _strongest(scores)
    figure, axes = panels(1, 1, width=8.2, height=3.0)
    axis = axes[0]
    base = {s.set: s.accuracy for s in scores if s.method == BEST_INGREDIENT}
    methods = [method for method in (*SHOWN[1:], OPTIMISTIC) if any(s.method == method for s in scores)]
    width = 0.8 / len(methods)
    for index, method in enumerate(methods):
        line = {s.set: s for s in scores if s.method == method}
        x = np.arange(len(shown)) + (index - (len(methods) - 1) / 2) * width
        axis.bar(
            x, [100 * (line[each].accuracy - base[each]) for each in shown], width, color=colour(index), label=method
        )
    axis.axhline(0, color="black", linewidth=0.6)
    labels = [f"{each}\n{100 * base[each]:.0f} %" for each in shown]
    axis.set_xticks(range(len(shown)), labels, rotation=60, ha="right", fontsize=7)
    axis.set_ylabel("points above the best ingredient")
    axis.legend(fontsize=7, ncols=2)
    return to_svg(figure, name)


def _strongest(scores: Sequence[ShiftScore]) -> list[str]:
    """The sets without a corruption, and each corruption at its highest severity."""
    highest: dict[str, ShiftScore] = {}
    for score in scores:
        key = score.corruption or score.set
        if key not in highest or score.severity > highest[key].severity:
            highest[key] = score
    return [score.set for score in highest.values()]
