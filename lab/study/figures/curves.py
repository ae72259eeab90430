"""Two-model curves with extrapolation (Croce et al., CVPR 2023, Figs 1, 2 and 5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from lab.study.figures.drawing import colour, panels, to_svg
from lab.study.plan import CURVE_WEIGHTS, curves
from lab.study.results import RobustTable
from search.resampling import shared_resamples

Pair = tuple[str, str]


@dataclass(frozen=True)
class CurvePoint:
    """Accuracy in one metric of the soup (1 - w) * first + w * second; ``weights`` in the pantry's order."""

    pantry: str
    first: str
    second: str
    w: float
    metric: str
    accuracy: float
    low: float
    high: float
    images: int
    weights: tuple[float, ...]


def curve_points(pantry: str, names: Sequence[str], pairs: Sequence[Pair], robust: RobustTable) -> list[CurvePoint]:
    """All curves' points in all metrics, with 95 % bootstrap intervals over images."""
    images = next(iter(robust.soups.values())).shape[1]
    resamples = shared_resamples(images)
    points = []
    for (first, second), soups in zip(pairs, curves(names, pairs), strict=True):
        for w, weights in zip(CURVE_WEIGHTS, soups, strict=True):
            for metric, outcome in zip(robust.metrics, robust.soups[weights], strict=True):
                low, high = resamples.interval(outcome)
                accuracy = float(outcome.mean())
                points.append(CurvePoint(pantry, first, second, w, metric, accuracy, low, high, images, weights))
    return points


def draw_curves(points: Sequence[CurvePoint], name: str) -> str:
    """One panel per pair: accuracy against w, with extrapolation shaded and intervals as bands."""
    pairs = list(dict.fromkeys((point.first, point.second) for point in points))
    metrics = list(dict.fromkeys(point.metric for point in points))
    columns = min(3, len(pairs))
    figure, axes = panels(-(-len(pairs) // columns), columns)
    for axis, (first, second) in zip(axes, pairs, strict=False):
        axis.set_title(f"{first} to {second}")
        for left, right in ((-0.4, 0.0), (1.0, 1.4)):
            axis.axvspan(left, right, color="#eeeeee", linewidth=0)
        for index, metric in enumerate(metrics):
            line = [p for p in points if (p.first, p.second, p.metric) == (first, second, metric)]
            w = [point.w for point in line]
            style = "--" if metric == metrics[-1] else "-"
            axis.plot(w, [100 * p.accuracy for p in line], style, color=colour(index), marker=".", label=metric)
            low, high = [100 * p.low for p in line], [100 * p.high for p in line]
            axis.fill_between(w, low, high, color=colour(index), alpha=0.15, linewidth=0)
        axis.set_xlabel("w")
        axis.set_ylabel("accuracy, %")
        axis.set_ylim(0, 100)
    for axis in axes[len(pairs) :]:
        axis.set_axis_off()
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(metrics), fontsize=8, frameon=False)
    return to_svg(figure, name)
