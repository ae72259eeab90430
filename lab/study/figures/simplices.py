"""Three-model simplices of step 0.2 (Croce et al., CVPR 2023, Figs 3, 4 and 10)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from lab.study.figures.drawing import panels, to_svg
from lab.study.plan import simplices
from lab.study.results import RobustTable
from search.resampling import shared_resamples

Triple = tuple[str, str, str]


@dataclass(frozen=True)
class SimplexPoint:
    """Accuracy in one metric of a convex soup of three ingredients; ``shares`` in the order of ``ingredients``."""

    pantry: str
    ingredients: Triple
    shares: tuple[float, ...]
    metric: str
    accuracy: float
    low: float
    high: float
    images: int


def simplex_points(
    pantry: str, names: Sequence[str], triples: Sequence[Triple], robust: RobustTable
) -> list[SimplexPoint]:
    """All simplices' points in all metrics, with 95 % bootstrap intervals over images."""
    images = next(iter(robust.soups.values())).shape[1]
    resamples = shared_resamples(images)
    points = []
    for triple, soups in zip(triples, simplices(names, triples), strict=True):
        places = [list(names).index(name) for name in triple]
        for weights in soups:
            shares = tuple(weights[place] for place in places)
            for metric, outcome in zip(robust.metrics, robust.soups[weights], strict=True):
                interval = resamples.interval(outcome)
                points.append(SimplexPoint(pantry, triple, shares, metric, float(outcome.mean()), *interval, images))
    return points


def draw_simplices(points: Sequence[SimplexPoint], name: str) -> str:
    """One row per triple, one panel per metric; each point is labelled with its accuracy in per cent."""
    triples = list(dict.fromkeys(point.ingredients for point in points))
    metrics = list(dict.fromkeys(point.metric for point in points))
    figure, axes = panels(len(triples), len(metrics), width=2.1, height=1.9)
    places = [(triple, metric) for triple in triples for metric in metrics]
    for axis, (triple, metric) in zip(axes, places, strict=True):
        _draw_panel(axis, [p for p in points if (p.ingredients, p.metric) == (triple, metric)], triple)
        axis.set_title(metric)
    return to_svg(figure, name)


def _draw_panel(axis: Axes, points: Sequence[SimplexPoint], triple: Triple) -> None:
    corners = ((0.0, 0.0), (1.0, 0.0), (0.5, 0.87))
    x = [sum(share * corner[0] for share, corner in zip(p.shares, corners, strict=True)) for p in points]
    y = [sum(share * corner[1] for share, corner in zip(p.shares, corners, strict=True)) for p in points]
    values = [100 * point.accuracy for point in points]
    middle = (min(values) + max(values)) / 2
    axis.scatter(x, y, c=values, s=150, cmap="viridis", linewidths=0)
    for left, top, value in zip(x, y, values, strict=True):
        text = "black" if value > middle else "white"
        axis.text(left, top, f"{value:.0f}", ha="center", va="center", fontsize=6, color=text)
    for label, (left, top), shift in zip(triple, corners, (-0.14, -0.14, 0.14), strict=True):
        axis.text(left, top + shift, label, ha="center", va="center", fontsize=7)
    axis.set_xlim(-0.15, 1.15)
    axis.set_ylim(-0.22, 1.1)
    axis.set_axis_off()
