"""Candidates in a box and on lattices too large to enumerate."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.candidates import DIGITS, BoxCandidates, LatticeCandidates
from search.descent import Box
from search.evaluation import weights_key
from search.lattice import Lattice
from search.space import Space

SPACES = [Space(4), Space(4, ((0.2, 0.2), (-10, 10), (0, 1), (-10, 10))), Space(3, ((1 / 3, 1 / 3),) * 3)]


@settings(max_examples=20, deadline=None)
@given(space=st.sampled_from(SPACES), seed=st.integers(0, 2**16))
def test_soups_in_a_box_keep_its_limits_and_are_what_their_names_say(space: Space, seed: int) -> None:
    box = Box.within(-0.4, 1.4, space)
    points = BoxCandidates(box).reached(
        [space.uniform], lambda points: -(points**2).sum(axis=1), np.random.default_rng(seed)
    )
    soups = [tuple(row) for row in points.tolist()]
    assert all(soup in space for soup in soups)
    assert all(-0.4 <= weight <= 1.4 for soup in soups for weight in soup)
    names = [weights_key(soup) for soup in soups]
    assert len(set(names)) == len(names)
    assert [tuple(map(float, name.split(","))) for name in names] == soups
    np.testing.assert_array_equal(points, np.round(points, DIGITS))


@pytest.mark.parametrize("target", [(0.31, 0.17, 0.83, -0.31), (1.4, -0.4, 0.4, -0.4)])
@pytest.mark.parametrize("seed", range(3))
def test_climbs_in_a_box_come_close_to_where_most_is_expected(target: tuple[float, ...], seed: int) -> None:
    box = Box.within(-0.4, 1.4, Space(4))
    points = BoxCandidates(box).reached(
        [(1.0, 0.0, 0.0, 0.0)],
        lambda points: np.asarray(-((points - np.array(target)) ** 2).sum(axis=1)),
        np.random.default_rng(seed),
    )
    assert np.abs(points - np.array(target)).max(axis=1).min() < 0.02


def test_climbs_on_a_lattice_reach_where_most_is_expected() -> None:
    lattice = Lattice(6, step=0.1)
    candidates = LatticeCandidates(lattice)
    target = np.array([0.5, -0.4, 0.7, 0.2, 0.1, -0.1])
    points = candidates.reached(
        [(1 / 6,) * 6], lambda points: np.asarray(-np.abs(points - target).sum(axis=1)), np.random.default_rng(0)
    )
    assert not candidates.are_all
    assert np.abs(points - target).max(axis=1).min() < 1e-9
