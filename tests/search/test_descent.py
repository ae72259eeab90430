"""Trust-region descents within a box on the plane."""

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray
from scipy.optimize import minimize

from search.descent import Box, Descent, Differentiated

Array = NDArray[np.float64]
BOX = Box(np.full(4, -0.4), np.full(4, 1.4))


def boxes(draw: st.DrawFn) -> Box:
    size = draw(st.integers(2, 6))
    inside = draw(arrays(np.float64, size, elements=st.floats(-1, 1)))
    inside += (1 - inside.sum()) / size
    room = [draw(arrays(np.float64, size, elements=st.sampled_from([0.0, 0.1, 0.5, 2.0]))) for _ in range(2)]
    return Box(inside - room[0], inside + room[1])


@given(st.data())
def test_the_nearest_point_is_inside_and_no_other_is_nearer(data: st.DataObject) -> None:
    box = data.draw(st.composite(boxes)())
    size = len(box.low)
    points = data.draw(arrays(np.float64, (2, size), elements=st.floats(-5, 5)))
    found = box.nearest(points)
    assert np.all(found >= box.low - 1e-9)
    assert np.all(found <= box.high + 1e-9)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-9)
    np.testing.assert_array_equal(box.nearest(found), found)
    other = box.nearest(data.draw(arrays(np.float64, (2, size), elements=st.floats(-5, 5))))
    # A projection on a convex set: nothing inside lies on the far side of the plane through it.
    assert np.all(((points - found) * (other - found)).sum(axis=1) <= 1e-6)


def test_what_is_inside_stays_exactly() -> None:
    points = np.array([[0.1, 0.2, 0.3, 0.4], [1.0, 0.0, 0.0, 0.0]])
    np.testing.assert_array_equal(BOX.nearest(points), points)


def descend(
    function: Callable[[Array], tuple[float, Array]], start: Array, box: Box = BOX, most: int = 60
) -> tuple[Differentiated, int]:
    """The best point, and how many were evaluated."""
    known = [Differentiated(start, *function(start))]
    descent = Descent(box, known[0], known, tolerance=1e-9)
    while (point := descent.propose(known)) is not None and len(known) < most:
        assert np.all(point >= box.low - 1e-9)
        assert np.all(point <= box.high + 1e-9)
        np.testing.assert_allclose(point.sum(axis=1), 1, atol=1e-9)
        known.append(Differentiated(point, *function(point)))
        descent.learn(known[-1])
    return descent.best, len(known)


@given(seed=st.integers(0, 2**16), vectors=st.integers(1, 3))
def test_it_finds_the_least_of_a_convex_quadratic(seed: int, vectors: int) -> None:
    rng = np.random.default_rng(seed)
    size = 4 * vectors
    root = rng.normal(size=(size, size))
    matrix, linear = root @ root.T + 0.1 * np.eye(size), rng.normal(size=size)

    def quadratic(point: Array) -> tuple[float, Array]:
        flat = point.ravel()
        return float(0.5 * flat @ matrix @ flat + linear @ flat), (matrix @ flat + linear).reshape(point.shape)

    best, evaluations = descend(quadratic, np.full((vectors, 4), 0.25))
    exact = minimize(
        lambda flat: quadratic(flat.reshape(vectors, 4))[0],
        np.full(size, 0.25),
        jac=lambda flat: quadratic(flat.reshape(vectors, 4))[1].ravel(),
        bounds=[(-0.4, 1.4)] * size,
        constraints={"type": "eq", "fun": lambda flat: flat.reshape(vectors, 4).sum(axis=1) - 1},
        method="SLSQP",
        options={"ftol": 1e-12, "maxiter": 500},
    )
    assert best.value == pytest.approx(exact.fun, abs=1e-4 * (1 + abs(exact.fun)))
    assert evaluations <= 60


def test_it_follows_a_curved_valley() -> None:
    """Rosenbrock's function of the first two weights; its least, (1, 1), has the others at -1 in sum."""

    def valley(point: Array) -> tuple[float, Array]:
        x, y, *_ = point[0]
        gradient = np.array([[-2 * (1 - x) - 40 * x * (y - x**2), 20 * (y - x**2), 0.0, 0.0]])
        return float((1 - x) ** 2 + 10 * (y - x**2) ** 2), gradient

    best, _ = descend(valley, np.array([[-0.3, 1.2, 0.05, 0.05]]), Box(np.full(4, -1.0), np.full(4, 1.4)))
    np.testing.assert_allclose(best.point[0, :2], 1, atol=0.01)


def test_it_shrinks_back_from_where_there_is_no_value() -> None:
    """The function has no value beyond a wall, close to which its least lies."""
    target = np.array([[0.7, 0.3, 0.0, 0.0]])

    def distance(point: Array) -> tuple[float, Array]:
        return float(10 * ((point - target) ** 2).sum() - point[0, 0]), 20 * (point - target) - [[1.0, 0.0, 0.0, 0.0]]

    known = [Differentiated(start, *distance(start)) for start in np.eye(4)[1:, None]]
    descent = Descent(BOX, known[0], known, tolerance=1e-6)
    walls = 0
    while (point := descent.propose(known)) is not None:
        if point[0, 0] > 0.71:
            walls += 1
            assert walls < 40
            descent.learn(None)
        else:
            known.append(Differentiated(point, *distance(point)))
            descent.learn(known[-1])
    assert walls > 0
    assert descent.best.value <= distance(np.array([[0.7, 0.3, 0.0, 0.0]]))[0] + 0.01


def test_a_box_of_one_point_ends_at_once() -> None:
    point = np.array([0.2, 0.8])
    start = Differentiated(point[None], 1.0, np.ones((1, 2)))
    assert Descent(Box(point, point), start, [start], tolerance=0.0).propose([start]) is None
