import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from search.pareto import expected_improvement, non_dominated, pareto_front
from search.ranking import Evaluation, rank

levels = st.sampled_from([0.0, 0.25, 0.5, 0.75, 1.0])
tables = st.integers(1, 4).flatmap(
    lambda width: st.lists(st.lists(levels, min_size=width, max_size=width), min_size=1, max_size=40).map(np.array)
)


def by_brute_force(values: NDArray[np.float64]) -> list[bool]:
    return [not any((other >= row).all() and (other > row).any() for other in values) for row in values]


@given(tables)
def test_the_front_is_that_of_comparing_every_pair(values: NDArray[np.float64]) -> None:
    assert non_dominated(values).tolist() == by_brute_force(values)


def test_nothing_has_no_front() -> None:
    assert non_dominated(np.zeros((0, 2))).tolist() == []
    assert pareto_front([]) == []


def soup(place: int, first: float, second: float, nll: float = 1.0, violation: float = 0.0) -> Evaluation:
    return Evaluation((place / 100, 1 - place / 100), first, nll, violation, {"first": first, "second": second})


soups = st.lists(
    st.tuples(levels, levels, st.sampled_from([1.0, 2.0]), st.sampled_from([0.0, 0.1])), min_size=1, max_size=30
).map(lambda rows: [soup(place, *row) for place, row in enumerate(rows)])


@given(soups, st.randoms(use_true_random=False))
def test_the_front_begins_with_the_best_and_holds_no_two_that_compare(
    tried: list[Evaluation], shuffle: random.Random
) -> None:
    front = pareto_front(tried)
    assert front[0] == rank(tried)[0]
    values = [tuple(each.objectives.values()) for each in front]
    assert values == sorted(set(values), reverse=True)
    assert non_dominated(np.array(values)).all()
    assert len({each.violation for each in front}) == 1
    shuffle.shuffle(tried)
    assert pareto_front(tried) == front


def test_of_equal_soups_the_likelier_stands_for_both_and_violators_stay_out() -> None:
    kept, twin, other = soup(1, 0.9, 0.2, nll=0.5), soup(2, 0.9, 0.2), soup(3, 0.1, 0.3)
    violator = soup(4, 1.0, 1.0, violation=0.01)
    unscored = Evaluation((0.5, 0.5), None)
    assert pareto_front([twin, violator, other, unscored, kept]) == [kept, other]


def dominated(values: NDArray[np.float64]) -> int:
    """How many cells of the grid of ``levels`` above 0 lie below some of ``values``."""
    corners = np.stack(np.meshgrid(*[np.arange(1, 5) / 4] * values.shape[1]), axis=-1).reshape(-1, values.shape[1])
    is_below = np.all(corners[:, None] <= values[None], axis=2)
    return int(np.any(is_below, axis=1).sum())


@given(tables, st.data())
def test_what_is_certain_improves_the_hypervolume_by_as_much_as_it_adds(
    known: NDArray[np.float64], data: st.DataObject
) -> None:
    width = known.shape[1]
    soup = np.array([data.draw(st.lists(levels, min_size=width, max_size=width))])
    gain = expected_improvement(known, np.zeros(width), soup, np.full((1, width), 1e-9))
    added = dominated(np.concatenate([known, soup])) - dominated(known)
    np.testing.assert_allclose(gain, added / 4**width, atol=1e-6)


@pytest.mark.parametrize("width", [1, 2, 3, 4])
def test_what_is_uncertain_improves_it_as_much_as_its_draws_do_on_average(width: int) -> None:
    rng = np.random.default_rng(width)
    known, mean, deviation = rng.random((6, width)), np.full((1, width), 0.8), rng.uniform(0.2, 0.5, (1, width))
    reference = known.min(axis=0)
    drawn = rng.normal(mean, deviation, (4000, width))
    # Both the volume above the reference and what of it is known are sampled by the same points.
    most = np.maximum(drawn.max(axis=0), known.max(axis=0)) - reference
    cells = reference + most * rng.random((4000, width))
    cells = cells[~(cells[:, None] <= known[None]).all(axis=2).any(axis=1)]
    share = np.mean([(cells <= soup).all(axis=1).sum() for soup in drawn]) / 4000
    found = expected_improvement(known, reference, mean, deviation)
    np.testing.assert_allclose(found, share * most.prod(), rtol=0.1)
