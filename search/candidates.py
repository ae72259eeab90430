"""Soups that a search may try next: all of a lattice or those reached from the best, on it or between its points."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from search.descent import Box
from search.evaluation import Weights
from search.lattice import Lattice
from search.space import TOLERANCE

Array = NDArray[np.float64]
Gains = Callable[[Array], Array]
"""What is expected of soups (q, n), shape (q,); more is better."""

ENUMERATED = 20_000
"""Lattices with more points are not enumerated: candidates are then found by walks from the best soups."""
WALKS, WALK_STEPS, CLIMBS, CLIMB_STEPS = 400, 6, 8, 12
"""Walks from the best soups, steps of each at most, climbs to where more is expected, and their steps."""
SHORTEST = 1e-3
"""Least share of its way to a random soup that a walk in a box goes."""
RADIUS, SHRINKAGE = 0.2, 0.7
"""How far the first step of a climb in a box goes in each weight, and by how much each step is shorter."""
APART = 0.01
"""Soups that differ less in every weight tell the same."""
DIGITS = 10
"""Decimals of weights in a box: no weight has then more than the 12 digits by which soups are named."""


class Candidates(ABC):
    """Soups that may be proposed. Two closer than ``apart`` in every weight count as one."""

    apart: float
    are_all: bool
    """Whether every soup is a candidate, rather than those reached from the best."""

    @abstractmethod
    def reached(self, begun: Sequence[Weights], gains: Gains, rng: np.random.Generator) -> Array:
        """Different candidates, (candidates, n), with those of which most is expected near the soups ``begun``."""


class LatticeCandidates(Candidates):
    """All points of a lattice; of a large one those reached by random walks, and climbs from neighbour to neighbour."""

    apart = TOLERANCE

    def __init__(self, lattice: Lattice) -> None:
        self._lattice = lattice
        self.are_all = lattice.count() <= ENUMERATED
        self._all = lattice.weights() if self.are_all else None

    def reached(self, begun: Sequence[Weights], gains: Gains, rng: np.random.Generator) -> Array:
        """See ``Candidates``."""
        if self._all is not None:
            return self._all
        nearest = [self._lattice.nearest(weights) for weights in begun]
        walks = [self._walk(nearest[int(rng.integers(len(nearest)))], rng) for _ in range(WALKS)]
        reached = np.unique(np.array([*nearest, *walks]), axis=0)

        def highest(steps: NDArray[np.intp]) -> NDArray[np.intp]:
            return steps[np.argsort(-rounded(gains(self._lattice.at(steps))), kind="stable")[:CLIMBS]]

        tops = highest(reached)
        for _ in range(CLIMB_STEPS):
            around = np.unique(np.concatenate([tops, *map(self._lattice.neighbours, tops)]), axis=0)
            higher = highest(around)
            reached = np.concatenate([reached, around])
            if np.array_equal(higher, tops):
                break
            tops = higher
        return self._lattice.at(np.unique(reached, axis=0))

    def _walk(self, steps: NDArray[np.intp], rng: np.random.Generator) -> NDArray[np.intp]:
        for _ in range(int(rng.integers(1, WALK_STEPS + 1))):
            around = self._lattice.neighbours(steps)
            steps = around[int(rng.integers(len(around)))] if len(around) else steps
        return steps


class BoxCandidates(Candidates):
    """Soups anywhere in a box: on the ways from the best to random ones, and climbs by ever shorter random steps."""

    apart = APART
    are_all = False

    def __init__(self, box: Box) -> None:
        self._box = box

    def reached(self, begun: Sequence[Weights], gains: Gains, rng: np.random.Generator) -> Array:
        """See ``Candidates``. Weights are rounded to ``DIGITS`` decimals."""
        size = len(self._box.low)
        nearest = self._box.nearest(np.array(begun))
        origins = nearest[rng.integers(len(nearest), size=WALKS)]
        ends = self._box.nearest(rng.uniform(self._box.low, self._box.high, (WALKS, size)))
        walked = np.concatenate([nearest, origins + SHORTEST ** rng.random((WALKS, 1)) * (ends - origins)])
        tops = walked[np.argsort(-rounded(gains(walked)), kind="stable")[:CLIMBS]]
        reached = [walked]
        for step in range(CLIMB_STEPS):
            moves = RADIUS * SHRINKAGE**step * rng.standard_normal((len(tops), 2 * size, size))
            moved = self._box.nearest((tops[:, None] + moves).reshape(-1, size)).reshape(moves.shape)
            around = np.concatenate([tops[:, None], moved], axis=1)
            expected = rounded(gains(around.reshape(-1, size))).reshape(around.shape[:2])
            tops = around[np.arange(len(tops)), expected.argmax(axis=1)]
            reached.append(tops)
        return np.unique(np.round(np.concatenate(reached), DIGITS) + 0.0, axis=0)


def rounded(gains: Array) -> Array:
    """To nine digits of the greatest, so that rounding elsewhere decides no ties."""
    greatest = np.abs(gains[np.isfinite(gains)]).max(initial=1e-300)
    return np.asarray(np.round(gains / greatest, 9))
