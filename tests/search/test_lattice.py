from fractions import Fraction
from itertools import product

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from search.lattice import MOST_STEPS, FineLatticeError, Lattice, LatticeError


def brute_force(size: int, lower: str, upper: str, step: str) -> list[tuple[Fraction, ...]]:
    scale = 20
    low, high, by = (int(Fraction(value) * scale) for value in (lower, upper, step))
    points = product(range(low, high + 1, by), repeat=size)
    return [tuple(Fraction(k, scale) for k in point) for point in points if sum(point) == scale]


def test_the_papers_grid_has_480_points() -> None:
    lattice = Lattice(4, -0.4, 1.4, 0.2)
    assert lattice.count() == 480 == len(lattice.weights())


def test_the_papers_simplex_of_three_models_has_21_points() -> None:
    assert Lattice(3, 0.0, 1.0, 0.2).count() == 21


@given(
    st.integers(1, 4),
    st.integers(-10, 3),
    st.integers(4, 20),
    st.sampled_from(["0.1", "0.2", "0.25", "0.5", "1"]),
)
def test_enumerates_exactly_the_affine_points(size: int, lower: int, upper: int, step: str) -> None:
    low, high = f"{lower / 10:.1f}", f"{upper / 10:.1f}"
    expected = brute_force(size, low, high, step)
    assume(expected)
    lattice = Lattice(size, float(low), float(high), float(step))
    assert lattice.count() == len(expected)
    assert [tuple(row) for row in lattice.weights()] == sorted(tuple(map(float, point)) for point in expected)


@given(st.integers(2, 8), st.sampled_from([0.1, 0.2, 0.25, 0.5]))
def test_counts_what_it_enumerates(size: int, step: float) -> None:
    lattice = Lattice(size, 0.0, 1.0, step)
    assume(lattice.count() < 20_000)
    weights = lattice.weights()
    assert len(weights) == lattice.count() == len(np.unique(weights, axis=0))
    assert np.allclose(weights.sum(axis=1), 1.0)


def test_convex_keeps_only_interpolation() -> None:
    weights = Lattice(4, -0.4, 1.4, 0.2, convex=True).weights()
    assert len(weights) == 56
    assert weights.min() == 0.0
    assert weights.max() == 1.0


def test_ingredients_are_exact_points() -> None:
    rows = {tuple(row) for row in Lattice(4).weights()}
    assert {tuple(row) for row in np.eye(4)} <= rows


def test_counts_a_huge_lattice_without_enumerating_it() -> None:
    assert Lattice(16).count() == 2970413786224


@pytest.mark.parametrize(
    ("size", "lower", "upper", "step"),
    [(3, 0.0, 1.0, 0.3), (4, -0.4, 0.2, 0.2), (4, 0.5, 1.0, 0.5), (2, 1.0, 0.0, 0.1), (2, 0.0, 1.0, 0.0), (0, 0, 1, 1)],
)
def test_a_lattice_without_points_says_what_to_change(size: int, lower: float, upper: float, step: float) -> None:
    with pytest.raises(LatticeError, match=r"step|ingredient"):
        Lattice(size, lower, upper, step)


@pytest.mark.parametrize("bounds", [None, ((0.2, 0.2), (-10, 10), (0, 1))])
def test_a_step_that_nobody_can_search_is_refused_before_anything_is_counted(
    bounds: tuple[tuple[float, float], ...] | None,
) -> None:
    with pytest.raises(FineLatticeError, match="take a greater step"):
        Lattice(3, 0, 1, 0.99 / MOST_STEPS, bounds=bounds)
    with pytest.raises(FineLatticeError):
        Lattice(3, 0, 1, 1e-12, bounds=bounds)
    assert Lattice(3, 0, 1, 1 / MOST_STEPS).count() > MOST_STEPS
