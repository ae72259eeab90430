import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from search.evaluation import Evaluation
from search.lattice import Lattice
from search.strategies import FixedStrategy


@given(st.integers(1, 50), st.sets(st.integers(0, 55)))
def test_the_grid_proposes_each_unknown_point_once_in_order(batch: int, known: set[int]) -> None:
    lattice = Lattice(4, convex=True)
    rows = [tuple(map(float, row)) for row in lattice.weights()]
    strategy = FixedStrategy(lattice.weights())
    strategy.tell(Evaluation(rows[index], 0.5) for index in known)
    proposed = []
    while batch_of_weights := strategy.ask(batch):
        assert len(batch_of_weights) <= batch
        proposed += batch_of_weights
    assert proposed == [row for index, row in enumerate(rows) if index not in known]
    assert strategy.total == 56


def test_telling_what_was_asked_changes_nothing() -> None:
    strategy = FixedStrategy(Lattice(2, 0.0, 1.0, 0.5).weights())
    first = strategy.ask(1)
    strategy.tell([Evaluation(first[0], None)])
    assert np.array(strategy.ask(5)).shape == (2, 2)
