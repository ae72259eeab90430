from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from search.evaluation import weights_key
from search.space import SearchError, Space
from search.strategies.curve import KIND, Curve
from search.strategies.grid import Grid

NAMES = ["l1", "l2", "linf", "nominal"]


def test_the_default_is_the_curve_of_the_paper() -> None:
    """The soups of Fig. 1: those of the lattice in which only two ingredients take part."""
    curve = Curve(between=("linf", "l2"))
    soups = curve.soups(curve.space(NAMES))
    lattice = Grid(fixed={"l1": 0, "nominal": 0})
    on_lattice = lattice.lattice(lattice.space(NAMES)).weights().tolist()
    assert sorted(soups) == sorted(map(tuple, on_lattice))
    assert soups[0] == (0.0, 1.4, -0.4, 0.0)
    assert soups[-1] == (0.0, -0.4, 1.4, 0.0)


def test_a_pantry_of_two_needs_no_names() -> None:
    assert Curve().soups(Space(2)) == Curve(between=("b", "a")).soups(Curve().space(["a", "b"]))
    assert Curve(fixed={"l1": 0.2, "l2": 0.0}).soups(Curve(fixed={"l1": 0.2, "l2": 0.0}).space(NAMES))


def test_the_others_keep_the_weights_that_fixed_gives_them() -> None:
    curve = Curve(between=("l1", "l2"), fixed={"nominal": 0.3}, lower=0, upper=1, points=3)
    assert curve.soups(curve.space(NAMES)) == [(0.7, 0.0, 0.0, 0.3), (0.35, 0.35, 0.0, 0.3), (0.0, 0.7, 0.0, 0.3)]


def test_bounds_cut_the_curve_and_do_not_thin_it() -> None:
    curve = Curve(between=("l1", "l2"), bounds={"l2": (0, 0.5)}, points=6)
    shares = [soup[1] for soup in curve.soups(curve.space(NAMES))]
    assert shares == [0.0, 0.1, 0.2, 0.3, 0.4, 0.5]
    narrow = Curve(between=("l1", "l2"), bounds={"l2": (0.5, 0.5 + 1e-13)}, points=6)
    assert len(narrow.soups(narrow.space(NAMES))) == 1


@pytest.mark.parametrize(
    ("curve", "says"),
    [
        (Curve(), "4 have a weight that is not fixed: name two in between"),
        (Curve(between=("l1", "l2"), fixed={"l1": 0.5}), "1 have a weight that is not fixed"),
        (Curve(between=("l1", "l3")), "no ingredient 'l3'"),
        (Curve(between=("l1", "l2"), bounds={"linf": (0, 1)}), "'linf' has bounds, but curve leaves it out"),
        (Curve(between=("l1", "l2"), fixed={"linf": 5}), "no two weights within their limits sum to what is left"),
    ],
)
def test_a_search_without_a_curve_is_refused(curve: Curve, says: str) -> None:
    with pytest.raises(SearchError, match=says):
        KIND.bound(curve, curve.space(NAMES))


def test_a_curve_needs_two_different_ends() -> None:
    with pytest.raises(ValidationError, match="names 'l1' twice"):
        Curve(between=("l1", "l1"))


limit = st.integers(-40, 40).map(lambda tenth: tenth / 20)


@given(lower=st.floats(-2, 0), upper=st.floats(1, 2), points=st.integers(2, 50), bounds=st.tuples(limit, limit))
def test_points_are_even_and_within_every_limit(
    lower: float, upper: float, points: int, bounds: tuple[float, float]
) -> None:
    low, high = sorted(bounds)
    space = (
        Space(3, ((low, high), (-10.0, 10.0), (0.1, 0.1))) if low < high else Space(3, ((-10, 10), (-10, 10), (0, 0)))
    )
    curve = Curve(lower=lower, upper=upper, points=points)
    try:
        soups = curve.soups(space)
    except SearchError:
        return
    assert all(soup in space for soup in soups)
    assert all(lower - 1e-9 <= weight <= upper + 1e-9 for soup in soups for weight in soup[:2])
    steps = [after[1] - before[1] for before, after in pairwise(soups)]
    assert steps == pytest.approx([steps[0]] * len(steps) if steps else [], abs=1e-9)
    assert len({weights_key(soup) for soup in soups}) == len(soups) <= points
