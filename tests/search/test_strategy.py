import pytest

from search.space import SearchError, Space
from search.strategies.grid import Grid

NAMES = ["linf", "l2", "nominal"]


def test_limits_of_ingredients_are_bounds_in_the_pantrys_order() -> None:
    assert Grid().space(NAMES) == Space(3)
    space = Grid(fixed={"nominal": 0.2}, bounds={"linf": (0, 1)}).space(NAMES)
    assert space == Space(3, ((0, 1), (-10, 10), (0.2, 0.2)))
    soups = Grid().lattice(space).weights()
    assert len(soups) > 3
    assert all(tuple(soup) in space for soup in soups.tolist())


@pytest.mark.parametrize(
    ("search", "says"),
    [
        (Grid(fixed={"l3": 0.2}), "no ingredient 'l3': the pantry has linf, l2, nominal"),
        (Grid(fixed={"l2": 0.2}, bounds={"l2": (0, 1)}), "both fixed and bounded"),
        (Grid(bounds={"l2": (1, 0)}), "least weight first"),
        (Grid(fixed={"linf": 0.2, "l2": 0.2, "nominal": 0.2}), "never to 1"),
    ],
)
def test_limits_that_cannot_hold_are_refused(search: Grid, says: str) -> None:
    with pytest.raises(SearchError, match=says):
        search.space(NAMES)
