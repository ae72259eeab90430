"""What all plots share: size, colours, and SVG for an HTML file that loads nothing else."""

from __future__ import annotations

import io
import re
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999999", "#f0e442")
"""Colours that colour-blind readers can tell apart too (Okabe and Ito, 2008)."""

_STYLE: Any = {
    "font.size": 8,
    "axes.titlesize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "svg.fonttype": "none",
    "path.simplify": True,
}


def colour(index: int) -> str:
    """The colour of the ingredient or metric at ``index``."""
    return COLOURS[index % len(COLOURS)]


def panels(rows: int, columns: int, *, width: float = 2.6, height: float = 2.1) -> tuple[Figure, list[Axes]]:
    """A figure of ``rows`` x ``columns`` panels of ``width`` x ``height`` inches, with their axes in reading order."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(width * columns, height * rows), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
    return figure, [each for row in axes for each in row]


def to_svg(figure: Figure, name: str) -> str:
    """The drawing as an ``svg`` element; ``name`` keeps its ids different from those of other drawings on the page."""
    buffer = io.StringIO()
    style: Any = {**_STYLE, "svg.hashsalt": name}
    with mpl.rc_context(style):
        figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    text = buffer.getvalue()
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r"(\d+\.\d{2})\d+", r"\1", text)
    # Half of matplotlib's SVG is indentation, a list of ten fonts at every label, and rotations by nothing.
    text = re.sub(r"font-family: [^;\"]*", "font-family: 'DejaVu Sans', Verdana, sans-serif", text)
    text = re.sub(r' transform="rotate\(-0 [^)]*\)"', "", text)
    text = re.sub(r" *\n *", "\n", text)
    text = re.sub(r'( id="|url\(#|href="#)', rf"\g<1>{name}-", text)
    return text.replace("<svg ", f'<svg role="img" aria-label="{name}" ', 1)
