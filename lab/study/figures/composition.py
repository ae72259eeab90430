"""Composition of the top five soups by shift and severity (Croce et al., CVPR 2023, Figs 7, 9 and 11)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from lab.study.figures.drawing import colour, panels, to_svg
from lab.study.results import PantryResults, ShiftTable
from lab.study.selection import Chooser
from search.resampling import Resamples, percentile_interval

TOP = 5
RESELECTIONS = 200


@dataclass(frozen=True)
class Composition:
    """Weights of the top five soups of a set, chosen on all its images as in the paper.

    ``soups`` has the five best first, and ``mean`` is their mean. ``low`` and ``high`` bound it: images are resampled
    and the five are chosen again in each draw. ``resampled`` (draws, ingredients) are the means of the draws.
    """

    pantry: str
    set: str
    corruption: str
    severity: int
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    soups: tuple[tuple[float, ...], ...]
    accuracies: tuple[float, ...]
    resampled: NDArray[np.float64]


def compositions(results: PantryResults) -> list[Composition]:
    """The top five of each set. Images of one family are drawn together for all its shifts."""
    chooser = Chooser.of(results)
    return [_composition(results, chooser, table) for table in results.tables]


def _composition(results: PantryResults, chooser: Chooser, table: ShiftTable) -> Composition:
    images = table.correct.shape[1]
    best = chooser.top(table, np.ones((1, images)), TOP)[0]
    shares = Resamples(images, resamples=RESELECTIONS).shares * images
    resampled = results.soups[chooser.top(table, shares, TOP)].mean(axis=1)
    bounds = [percentile_interval(column) for column in resampled.T]
    shift = table.shift
    return Composition(
        results.name,
        shift.name,
        shift.corruption or "",
        shift.severity or 0,
        tuple(results.soups[best].mean(axis=0).tolist()),
        tuple(low for low, _ in bounds),
        tuple(high for _, high in bounds),
        tuple(tuple(row) for row in results.soups[best].tolist()),
        tuple(table.correct[best].mean(axis=1).tolist()),
        resampled,
    )


def draw_top_five(items: Sequence[Composition], names: Sequence[str], name: str) -> str:
    """Fig 7: the five best soups of each set, at the highest severity of each corruption, as stacked weights."""
    shown = _strongest(items)
    figure, axes = panels(1, 1, width=8.2, height=2.6)
    positions = [group * (TOP + 1.5) + place for group, item in enumerate(shown) for place in range(len(item.soups))]
    weights = np.array([soup for item in shown for soup in item.soups])
    _stack(axes[0], np.array(positions), weights, names, width=0.9)
    middles = [group * (TOP + 1.5) + (TOP - 1) / 2 for group in range(len(shown))]
    axes[0].set_xticks(middles, [item.set for item in shown], rotation=60, ha="right", fontsize=7)
    axes[0].legend(fontsize=7, ncols=len(names), loc="upper center", bbox_to_anchor=(0.5, 1.16))
    axes[0].set_ylabel("weight")
    return to_svg(figure, name)


def draw_by_severity(items: Sequence[Composition], names: Sequence[str], name: str) -> str:
    """Figs 9 and 11: mean composition of the top five against severity, one panel per corruption."""
    corruptions = list(dict.fromkeys(item.corruption for item in items if item.corruption))
    columns = min(5, len(corruptions))
    figure, axes = panels(-(-len(corruptions) // columns), columns, width=1.65, height=1.5)
    for axis, corruption in zip(axes, corruptions, strict=False):
        line = sorted((i for i in items if i.corruption == corruption), key=lambda item: item.severity)
        _stack(axis, np.array([i.severity for i in line]), np.array([i.mean for i in line]), names, width=0.8)
        axis.set_title(corruption, fontsize=7)
        axis.set_xticks([item.severity for item in line])
        axis.set_ylim(-1.2, 2.2)
    for axis in axes[len(corruptions) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(names), fontsize=7, frameon=False)
    return to_svg(figure, name)


def _stack(
    axis: Axes, x: NDArray[np.floating], weights: NDArray[np.float64], names: Sequence[str], *, width: float
) -> None:
    """Positive weights are stacked upwards, negative ones downwards."""
    above, below = np.zeros(len(x)), np.zeros(len(x))
    for index, label in enumerate(names):
        column = weights[:, index]
        axis.bar(x, column, width, bottom=np.where(column >= 0, above, below), color=colour(index), label=label)
        above += np.maximum(column, 0)
        below += np.minimum(column, 0)
    axis.axhline(0, color="black", linewidth=0.6)


def _strongest(items: Sequence[Composition]) -> list[Composition]:
    highest: dict[str, Composition] = {}
    for item in items:
        key = item.corruption or item.set
        if key not in highest or item.severity > highest[key].severity:
            highest[key] = item
    return list(highest.values())
