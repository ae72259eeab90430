"""Lattices: all affine soup weights on a grid, enumerated in integers."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import cached_property
from itertools import accumulate
from math import comb

import numpy as np
from numpy.typing import NDArray

from search.space import SearchError


class LatticeError(SearchError):
    """No lattice point exists for these bounds; the message says what to change."""

    code = "empty_lattice"


MOST_STEPS = 10_000
"""Steps from the least weight of an ingredient to its greatest; finer lattices cost memory and time for nothing."""


class FineLatticeError(SearchError):
    """The step is too small for the bounds."""

    code = "too_many_points"


@dataclass(frozen=True)
class Lattice:
    """All affine weights ``w`` of ``size`` ingredients on a grid with ``sum w = 1`` and ``lower <= w_i <= upper``.

    The grid starts at ``lower`` and has distance ``step``; with ``convex`` it is cut to [0, 1]. ``bounds``, the least
    and greatest weight of each ingredient, cut it further; an ingredient whose two bounds are equal has that
    weight, whether or not it is on the grid. Bounds are read as the decimals that a person would write (0.2 is one
    fifth), and points are enumerated in integers, so rounding never adds or drops one. Croce et al. (CVPR 2023,
    section 4.3) use lower -0.4, upper 1.4, step 0.2 with four ingredients: 480 points.

    Raises LatticeError when the bounds admit no point, FineLatticeError for more than ``MOST_STEPS`` steps.
    """

    size: int
    lower: float = -0.4
    upper: float = 1.4
    step: float = 0.2
    convex: bool = False
    bounds: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise LatticeError(f"a soup needs at least one ingredient, not {self.size}")
        if self.step <= 0 or self.lower >= self.upper:
            raise LatticeError(f"step must be positive and lower less than upper: {self}")
        if (self.upper - self.lower) / self.step > MOST_STEPS:
            raise FineLatticeError(
                f"a step of {self.step:g} cuts [{self.lower:g}, {self.upper:g}] into more than {MOST_STEPS} parts: "
                "take a greater step"
            )
        if self.count() == 0:
            raise LatticeError(self._why_empty())

    @cached_property
    def _axes(self) -> list[tuple[Fraction, int]]:
        """For each ingredient, the least weight on the grid and the number of steps to the greatest."""
        lower, upper, step = (Fraction(str(value)) for value in (self.lower, self.upper, self.step))
        if self.convex:
            lower += step * max(0, -(lower // step))
            upper = min(upper, Fraction(1))
        axes = []
        for low, high in self.bounds or ((None, None),) * self.size:
            least = lower if low is None else max(lower, lower + step * -((lower - Fraction(str(low))) // step))
            most = upper if high is None else min(upper, Fraction(str(high)))
            if low is not None and low == high:
                least = most = Fraction(str(low))
            axes.append((least, int((most - least) // step)))
        return axes

    @cached_property
    def _total(self) -> int | None:
        """The sum of a point's integer coordinates; None if it would not be an integer."""
        total = (1 - sum(least for least, _ in self._axes)) / Fraction(str(self.step))
        return int(total) if total.denominator == 1 and total >= 0 else None

    def _why_empty(self) -> str:
        if self.bounds is not None:
            return (
                f"no weights within the bounds of each ingredient sum to 1 in steps of {self.step:g}: "
                "widen the bounds, or choose a step that divides them"
            )
        least, top = self._axes[0]
        bounds = f"[{float(least):g}, {float(least + max(top, 0) * Fraction(str(self.step))):g}] by {self.step:g}"
        return (
            f"no weights in {bounds} for {self.size} ingredients sum to 1: "
            "choose lower and step so that (1 - ingredients * lower) is a multiple of step, and an upper bound of at "
            "least 1/ingredients"
        )

    def count(self) -> int:
        """Number of points, without enumerating them."""
        tops = [top for _, top in self._axes]
        if self._total is None or min(tops) < 0:
            return 0
        if len(set(tops)) == 1:
            return _compositions(self.size, self._total, tops[0])
        return _bounded_compositions(tops, self._total)

    def weights(self) -> NDArray[np.float64]:
        """All points as an array of shape (count, size), dtype float64, in lexicographic order."""
        tops = [top for _, top in self._axes]
        return self.at(np.array(list(_points(tops, self._total or 0)), dtype=np.intp))

    def at(self, steps: NDArray[np.intp]) -> NDArray[np.float64]:
        """The weights of points given in steps from each ingredient's least weight, both of shape (points, size).

        Each weight is the double nearest to its exact decimal: 0 is exactly 0 and 1 exactly 1.
        """
        return np.stack([values[steps[:, place]] for place, values in enumerate(self._values)], axis=1)

    @cached_property
    def _values(self) -> list[NDArray[np.float64]]:
        """The weights on each ingredient's axis."""
        step = Fraction(str(self.step))
        return [np.array([float(least + k * step) for k in range(top + 1)]) for least, top in self._axes]

    def sample(self, rng: np.random.Generator) -> NDArray[np.intp]:
        """A random point, in steps, shape (size,): in random order, each ingredient takes any share that is possible.

        Every point may be drawn, but not all are equally likely.
        """
        order = rng.permutation(self.size)
        tops = np.array([top for _, top in self._axes])
        left, room = self._total or 0, int(tops.sum())
        steps = np.zeros(self.size, dtype=np.intp)
        for place in order:
            room -= int(tops[place])
            steps[place] = rng.integers(max(0, left - room), min(int(tops[place]), left) + 1)
            left -= int(steps[place])
        return steps

    def nearest(self, weights: Sequence[float]) -> NDArray[np.intp]:
        """A point close to ``weights``, in steps, shape (size,): rounded down, and the largest remainders up."""
        exact = np.array(
            [(weight - float(least)) / self.step for weight, (least, _) in zip(weights, self._axes, strict=True)]
        )
        tops = np.array([top for _, top in self._axes])
        steps = np.clip(np.floor(exact + 1e-9), 0, tops).astype(np.intp)
        while (short := (self._total or 0) - int(steps.sum())) != 0:
            room = steps < tops if short > 0 else steps > 0
            left = np.where(room, exact - steps, -np.inf if short > 0 else np.inf)
            place = int(left.argmax() if short > 0 else left.argmin())
            steps[place] += 1 if short > 0 else -1
        return steps

    def neighbours(self, steps: NDArray[np.intp]) -> NDArray[np.intp]:
        """The points one step away, (neighbours, size): one ingredient's weight goes up and another's down."""
        tops = np.array([top for _, top in self._axes])
        up, down = np.flatnonzero(steps < tops), np.flatnonzero(steps > 0)
        unit = np.eye(self.size, dtype=np.intp)
        moves = [unit[more] - unit[less] for more in up for less in down if more != less]
        return steps + np.array(moves, dtype=np.intp).reshape(-1, self.size)


def _compositions(parts: int, total: int, top: int) -> int:
    """Number of ways to write ``total`` as an ordered sum of ``parts`` integers in [0, ``top``].

    Uses inclusion-exclusion over the parts that exceed ``top``: at most ``parts`` terms, however fine the grid.
    """
    return sum(
        (-1) ** over * comb(parts, over) * comb(total - over * (top + 1) + parts - 1, parts - 1)
        for over in range(min(parts, total // (top + 1)) + 1)
    )


def _bounded_compositions(tops: Sequence[int], total: int) -> int:
    """Like the above, but with a separate maximum for each part, by a running sum over the parts."""
    ways = [1] + [0] * total
    for top in tops:
        sums = [0, *accumulate(ways)]
        ways = [sums[k + 1] - sums[max(0, k - top)] for k in range(total + 1)]
    return ways[total]


def _points(tops: Sequence[int], total: int) -> Iterator[tuple[int, ...]]:
    if len(tops) == 1:
        if total <= tops[0]:
            yield (total,)
        return
    rest = sum(tops[1:])
    for first in range(max(0, total - rest), min(tops[0], total) + 1):
        for others in _points(tops[1:], total - first):
            yield (first, *others)
