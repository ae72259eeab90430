from math import comb

import pytest
from pydantic import ValidationError

from search.lattice import LatticeError
from search.space import SearchError
from search.strategies.grid import Grid
from search.strategies.simplex import KIND, Simplex

NAMES = ["l1", "l2", "linf", "nominal"]


def test_the_default_is_the_simplex_of_the_paper() -> None:
    """Fig. 3 has 21 soups of three ingredients."""
    simplex = Simplex(among=("linf", "l1", "nominal"))
    soups = simplex.soups(simplex.space(NAMES))
    grid = Grid(convex=True, fixed={"l2": 0})
    assert soups == [tuple(row) for row in grid.lattice(grid.space(NAMES)).weights().tolist()]
    assert len(soups) == KIND.bound(simplex, simplex.space(NAMES)) == 21


def test_all_ingredients_take_part_unless_some_are_named() -> None:
    assert KIND.bound(Simplex(step=0.25), Simplex().space(NAMES)) == comb(4 + 3, 3)


def test_the_others_keep_the_weights_that_fixed_gives_them() -> None:
    simplex = Simplex(among=("l1", "l2"), fixed={"nominal": 0.4}, bounds={"l1": (0.2, 1)})
    assert simplex.soups(simplex.space(NAMES)) == [(0.2, 0.4, 0.0, 0.4), (0.4, 0.2, 0.0, 0.4), (0.6, 0.0, 0.0, 0.4)]


def test_a_search_without_a_simplex_is_refused() -> None:
    with pytest.raises(LatticeError):
        KIND.bound(Simplex(step=0.3), Simplex().space(NAMES))
    with pytest.raises(SearchError, match="no ingredient 'l3'"):
        Simplex(among=("l1", "l3")).space(NAMES)
    with pytest.raises(SearchError, match="'linf' has bounds, but simplex leaves it out"):
        Simplex(among=("l1", "l2"), bounds={"linf": (0, 1)}).space(NAMES)
    with pytest.raises(ValidationError, match="names an ingredient twice"):
        Simplex(among=("l1", "l1"))
    with pytest.raises(ValidationError, match="at least 2"):
        Simplex(among=("l1",))
