"""How few labelled images are enough to choose a soup (Croce et al., CVPR 2023, Fig 8)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from lab.study.figures.drawing import colour, panels, to_svg
from lab.study.results import PantryResults, ShiftTable
from lab.study.selection import By, Chooser
from search.resampling import crossed_interval

RULES: tuple[By, ...] = ("accuracy", "nll")


@dataclass(frozen=True)
class FewShotPoint:
    """Soups chosen by ``by`` on ``count`` images: mean held-out accuracy over sets, images and draws.

    ``deviation`` is the standard deviation over draws of one set's accuracy, averaged over sets (the paper's bars). The
    interval is for the mean, over images and draws. ``per_image`` (draws, images) are means over sets.
    """

    pantry: str
    by: By
    count: int
    draws: int
    sets: int
    accuracy: float
    deviation: float
    low: float
    high: float
    per_image: NDArray[np.float64] = field(repr=False, compare=False)


def few_shot_points(
    results: PantryResults, counts: Sequence[int], draws: int, tables: Sequence[ShiftTable], seed: int = 0
) -> list[FewShotPoint]:
    """The curve over ``tables`` of one family size. Counts beyond the number of selection images are left out.

    Held-out images are never drawn. Each draw is without replacement, and the same for all sets.
    """
    chooser = Chooser.of(results)
    usable = [count for count in counts if count <= min(table.selection for table in tables)]
    points: list[FewShotPoint] = []
    for count in usable:
        samples = _draws(tables[0], count, draws, seed)
        points.extend(_point(results.name, count, by, _outcomes(chooser, tables, samples, by)) for by in RULES)
    return points


def _draws(table: ShiftTable, count: int, draws: int, seed: int) -> NDArray[np.float64]:
    samples = np.zeros((draws, table.correct.shape[1]))
    for number, row in enumerate(samples):
        rng = np.random.default_rng([seed, count, number])
        row[rng.choice(table.selection, count, replace=False)] = 1
    return samples


def _outcomes(
    chooser: Chooser, tables: Sequence[ShiftTable], samples: NDArray[np.float64], by: By
) -> list[NDArray[np.bool_]]:
    """For each table, the held-out outcomes (draws, images) of the soups that the draws choose."""
    return [table.held_out[chooser.top(table, samples, 1, by)[:, 0]] for table in tables]


def _point(pantry: str, count: int, by: By, outcomes: Sequence[NDArray[np.bool_]]) -> FewShotPoint:
    per_image = np.mean(outcomes, axis=0)
    deviation = float(np.mean([outcome.mean(axis=1).std(ddof=1) for outcome in outcomes]))
    low, high = crossed_interval(per_image)
    mean = float(per_image.mean())
    return FewShotPoint(pantry, by, count, len(per_image), len(outcomes), mean, deviation, low, high, per_image)


def same_size(tables: Sequence[ShiftTable]) -> list[ShiftTable]:
    """The tables with as many images as the first, which can share one draw of images."""
    return [table for table in tables if table.correct.shape == tables[0].correct.shape]


def draw_few_shot(points: Sequence[FewShotPoint], name: str) -> str:
    """Accuracy against the number of labelled images; bars are standard deviations over draws."""
    figure, axes = panels(1, 1, width=4.4, height=2.8)
    axis = axes[0]
    for index, by in enumerate(RULES):
        line = [point for point in points if point.by == by]
        x = [point.count * (1 + 0.04 * index) for point in line]
        y, bars = [100 * point.accuracy for point in line], [100 * point.deviation for point in line]
        axis.errorbar(x, y, bars, color=colour(index), marker="o", markersize=3, capsize=2, label=f"chosen by {by}")
    axis.set_xscale("log")
    ticks = sorted({point.count for point in points})
    axis.set_xticks(ticks, [str(tick) for tick in ticks])
    axis.minorticks_off()
    axis.set_xlabel("labelled images of the shift")
    axis.set_ylabel("held-out accuracy, %")
    axis.legend(fontsize=7)
    return to_svg(figure, name)
