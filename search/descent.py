"""Descents along gradients, on the weights that are allowed: trust regions with a quasi-Newton model."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from search.space import TOLERANCE, SearchError, Space

Array = NDArray[np.float64]
POOR, GOOD = 0.25, 0.75
"""Shares of the gain expected below which a trust region shrinks to a quarter of the step, above which it doubles."""
DAMPING = 0.2
"""Least share of the model's own curvature along a step that an update leaves."""
_ITERATIONS = 1000
_SETTLED = 1e-9


@dataclass(frozen=True)
class Box:
    """The vectors whose sum is 1 and whose entries lie between ``low`` and ``high``, float64 (n,)."""

    low: Array
    high: Array

    @classmethod
    def within(cls, lower: float, upper: float, space: Space) -> "Box":
        """The weights from ``lower`` to ``upper`` within the bounds of ``space``; fixed weights stay where they are.

        Raises SearchError when no weights there sum to 1.
        """
        bounds = np.array(space.bounds or [(-np.inf, np.inf)] * space.size)
        fixed = bounds[:, 0] == bounds[:, 1]
        low = np.where(fixed, bounds[:, 0], np.maximum(bounds[:, 0], lower))
        high = np.where(fixed, bounds[:, 1], np.minimum(bounds[:, 1], upper))
        if np.any(low > high) or low.sum() > 1 or high.sum() < 1:
            raise SearchError(
                f"no weights from {lower:g} to {upper:g} within the bounds of each ingredient sum to 1: "
                "widen lower and upper, or the bounds"
            )
        return cls(low, high)

    def nearest(self, points: Array) -> Array:
        """The euclidean projection of each of ``points``, float64 (k, n), onto the box; what is inside stays exactly.

        It is clip(x + t, low, high) for the shift t at which the sum is 1: the sum is piecewise linear in t.
        """
        return _projected(points, self.low, self.high, 1.0)


def _projected(points: Array, low: Array, high: Array, total: float) -> Array:
    """The nearest points to ``points`` (k, n), between ``low`` and ``high``, (n,) or (k, n), with sums ``total``."""
    low, high = np.broadcast_to(low, points.shape), np.broadcast_to(high, points.shape)
    clipped = np.clip(points, low, high)
    inside = (np.abs(clipped.sum(axis=1) - total) <= TOLERANCE) & np.all(np.abs(clipped - points) <= TOLERANCE, axis=1)
    corners = np.sort(np.concatenate([low - points, high - points], axis=1), axis=1)
    sums = np.clip(points[:, None] + corners[:, :, None], low[:, None], high[:, None]).sum(axis=2)
    shifts = [np.interp(total, each, corner) for each, corner in zip(sums, corners, strict=True)]
    moved = np.clip(points + np.array(shifts)[:, None], low, high)
    return np.where(inside[:, None], clipped, moved)


@dataclass(frozen=True)
class Differentiated:
    """What is known of a function at ``point``: its value and gradient; both float64 (k, n) but the value."""

    point: Array
    value: float
    gradient: Array


class Descent:
    """Minimises a smooth function of k vectors, each within ``box``, from a point where it is known.

    Each step minimises a quadratic model within the box and a trust region, |step| <= radius in every entry. The
    region shrinks where the model was wrong and grows where it was right and the step reached its end (Nocedal and
    Wright, Numerical Optimization, 2006, algorithm 4.1); a point is kept if it is better. The model's curvature comes
    from all points where the function is known, by BFGS with Powell's damping (ibid., procedure 18.2), from the
    farthest to the nearest, so that it holds best close by, and is convex. At first the radius is the distance to the
    nearest other point: the model spans it.

    The descent ends when its model expects to gain no more than ``tolerance``, or when its steps are too short to tell
    two soups apart.
    """

    def __init__(self, box: Box, start: Differentiated, known: Sequence[Differentiated], tolerance: float) -> None:
        self.best = start
        self._box = box
        self._tolerance = tolerance
        others = [float(np.abs(each.point - start.point).max()) for each in known]
        self.radius = min((distance for distance in others if distance > 0), default=float((box.high - box.low).max()))
        self._expected = self._length = 0.0

    def propose(self, known: Sequence[Differentiated]) -> Array | None:
        """The next point, float64 (k, n), given all points where the function is ``known``; None at the end."""
        if self.radius == 0:
            return None
        curvature = self._curvature(known)
        step = self._step(curvature)
        self._length = float(np.abs(step).max())
        self._expected = -float((self.best.gradient * step).sum() + 0.5 * step.ravel() @ curvature @ step.ravel())
        has_moved = self._length > TOLERANCE and self._expected > self._tolerance
        return self.best.point + step if has_moved else None

    def learn(self, found: Differentiated | None) -> None:
        """What was found at the point proposed last; None where the function has no value."""
        gain = -np.inf if found is None else self.best.value - found.value
        if found is None or gain < POOR * self._expected:
            self.radius = POOR * self._length
        elif gain > GOOD * self._expected and np.isclose(self._length, self.radius):
            self.radius *= 2
        if found is not None and gain > 0:
            self.best = found

    def _curvature(self, known: Sequence[Differentiated]) -> Array:
        """The model's second derivatives at the best point, symmetric (k n, k n)."""
        here = self.best
        pairs = [((each.point - here.point).ravel(), (each.gradient - here.gradient).ravel()) for each in known]
        pairs = sorted((pair for pair in pairs if pair[0].any()), key=lambda pair: -float(pair[0] @ pair[0]))
        scales = [float(step @ change) / float(step @ step) for step, change in pairs if step @ change > 0]
        # Without a curvature, the model's steepest descent ends at the region's edge.
        scale = scales[-1] if scales else float(np.abs(here.gradient).max()) / self.radius
        curvature = max(scale, float(np.finfo(np.float64).eps)) * np.eye(here.point.size)
        for step, change in pairs:
            bent = curvature @ step
            along = float(step @ bent)
            share = float(step @ change) / along
            if share < DAMPING:
                kept = (1 - DAMPING) / (1 - share)
                change = kept * change + (1 - kept) * bent  # noqa: PLW2901
            curvature += np.outer(change, change) / float(step @ change) - np.outer(bent, bent) / along
        return curvature

    def _step(self, curvature: Array) -> Array:
        """The model's minimiser within the box and the trust region, (k, n), by accelerated projected gradients.

        Beck and Teboulle, SIAM J. Imaging Sciences 2009 (FISTA), begun anew whenever it turns back.
        """
        here = self.best.point
        low = np.maximum(self._box.low - here, -self.radius)
        high = np.minimum(self._box.high - here, self.radius)
        pace = 1 / float(np.linalg.eigvalsh(curvature)[-1])
        step = ahead = np.zeros_like(here)
        momentum = 1.0
        for _ in range(_ITERATIONS):
            slope = self.best.gradient + (curvature @ ahead.ravel()).reshape(here.shape)
            following = _projected(ahead - pace * slope, low, high, 0.0)
            moved = following - step
            if ((ahead - following) * moved).sum() > 0:
                momentum = 1.0
            if np.abs(following - ahead).max() <= _SETTLED * self.radius:
                return following
            later = (1 + np.sqrt(1 + 4 * momentum**2)) / 2
            ahead = following + (momentum - 1) / later * moved
            step, momentum = following, later
        return step
