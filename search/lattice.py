"""Lattices: all affine soup weights on a grid, enumerated in integers."""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from math import comb

import numpy as np
from numpy.typing import NDArray


class LatticeError(ValueError):
    """No lattice point exists for these bounds; the message says what to change."""


@dataclass(frozen=True)
class Lattice:
    """The affine weights ``w`` of ``size`` ingredients with ``sum w = 1``, ``lower <= w_i <= upper`` on a grid.

    The grid starts at ``lower`` and has distance ``step``; with ``convex`` it is cut to [0, 1]. Bounds are read as the
    decimals that a person would write (0.2 is one fifth), and the enumeration is in integers, so that no rounding ever
    adds or drops a point. Croce et al. (CVPR 2023, section 4.3) use lower -0.4, upper 1.4, step 0.2 with four
    ingredients: 480 points.

    Raises LatticeError when the bounds admit no point.
    """

    size: int
    lower: float = -0.4
    upper: float = 1.4
    step: float = 0.2
    convex: bool = False

    def __post_init__(self) -> None:
        """Refuse a lattice without points."""
        if self.size < 1:
            raise LatticeError(f"a soup needs at least one ingredient, not {self.size}")
        if self.step <= 0 or self.lower >= self.upper:
            raise LatticeError(f"step must be positive and lower less than upper: {self}")
        if self.count() == 0:
            raise LatticeError(self._why_empty())

    @cached_property
    def _grid(self) -> tuple[Fraction, Fraction, int]:
        """Smallest weight, step, and number of steps from the smallest weight to the greatest."""
        lower, upper, step = (Fraction(str(value)) for value in (self.lower, self.upper, self.step))
        if self.convex:
            lower += step * max(0, -(lower // step))
            upper = min(upper, Fraction(1))
        return lower, step, int((upper - lower) // step)

    @cached_property
    def _total(self) -> int | None:
        """What the integer coordinates of a point sum to; None when no integer does."""
        lower, step, _ = self._grid
        total = (1 - self.size * lower) / step
        return int(total) if total.denominator == 1 and total >= 0 else None

    def _why_empty(self) -> str:
        lower, step, top = self._grid
        bounds = f"[{float(lower):g}, {float(lower + max(top, 0) * step):g}] by {float(step):g}"
        return (
            f"no weights in {bounds} for {self.size} ingredients sum to 1: "
            "choose lower and step so that (1 - ingredients * lower) is a multiple of step, and an upper bound of at "
            "least 1/ingredients"
        )

    def count(self) -> int:
        """Number of points, without enumerating them."""
        _, _, top = self._grid
        if self._total is None or top < 0:
            return 0
        return _compositions(self.size, self._total, top)

    def weights(self) -> NDArray[np.float64]:
        """All points as an array of shape (count, size), dtype float64, in lexicographic order.

        Each weight is the double nearest to its exact decimal: 0 is exactly 0 and 1 exactly 1.
        """
        lower, step, top = self._grid
        values = np.array([float(lower + k * step) for k in range(top + 1)])
        return values[np.array(list(_points(self.size, self._total or 0, top)), dtype=np.intp)]


def _compositions(parts: int, total: int, top: int) -> int:
    """Number of ways to write ``total`` as an ordered sum of ``parts`` integers in [0, ``top``].

    By inclusion and exclusion over the parts that exceed ``top``: at most ``parts`` terms, however fine the grid.
    """
    return sum(
        (-1) ** over * comb(parts, over) * comb(total - over * (top + 1) + parts - 1, parts - 1)
        for over in range(min(parts, total // (top + 1)) + 1)
    )


def _points(parts: int, total: int, top: int) -> Iterator[tuple[int, ...]]:
    if parts == 1:
        yield (total,)
        return
    for first in range(max(0, total - (parts - 1) * top), min(top, total) + 1):
        for rest in _points(parts - 1, total - first, top):
            yield (first, *rest)
