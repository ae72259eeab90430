import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from lab.study.selection import Chooser, best_of, selection_draw
from search.lattice import Lattice
from search.ranking import Evaluation, rank
from tests.lab.study.tables import results_of, table_of

SOUPS = Lattice(3, 0.0, 1.0, 0.5).weights()


@given(st.integers(0, 10_000), st.integers(1, 4))
def test_it_ranks_as_a_search_does(seed: int, levels: int) -> None:
    """Few levels of loss make many ties, of which every rule has to break some."""
    rng = np.random.default_rng(seed)
    correct = rng.random((len(SOUPS), 8)) < 0.5
    nll = rng.integers(0, levels, correct.shape).astype(np.float32)
    draw = rng.integers(0, 3, (1, 8)) + (np.arange(8) == 0)
    picks = np.repeat(np.arange(8), draw[0])
    expected = rank(
        Evaluation(tuple(row), float(correct[i, picks].mean()), float(nll[i, picks].astype(float).mean()))
        for i, row in enumerate(SOUPS)
    )
    chooser = Chooser(SOUPS, np.ones(len(SOUPS), dtype=bool))
    found = chooser.top(table_of(correct, nll=nll), draw, len(SOUPS))[0]
    assert [tuple(SOUPS[row]) for row in found] == [each.weights for each in expected]


def test_a_soup_without_finite_logits_is_never_best() -> None:
    correct = np.array([[True, True], [False, False]])
    nll = np.array([[np.inf, 0.1], [1.0, 1.0]], dtype=np.float32)
    table = table_of(correct, nll=nll, selection=2)
    chooser = Chooser(np.eye(2), np.ones(2, dtype=bool))
    assert best_of(chooser, table) == 1
    assert best_of(chooser, table, "nll") == 1
    assert chooser.top(table, np.array([[0, 1]]), 1)[0, 0] == 0


def test_likelihood_may_choose_instead_of_accuracy() -> None:
    correct = np.array([[True, True], [True, False]])
    nll = np.array([[0.9, 0.9], [0.1, 0.8]], dtype=np.float32)
    table = table_of(correct, nll=nll, selection=2)
    chooser = Chooser(np.eye(2), np.ones(2, dtype=bool))
    assert (best_of(chooser, table, "accuracy"), best_of(chooser, table, "nll")) == (0, 1)


def test_only_selection_images_choose() -> None:
    correct = np.array([[True, False, False, False], [False, True, True, True]])
    table = table_of(correct, selection=1)
    assert selection_draw(table).tolist() == [[1, 0, 0, 0]]
    assert best_of(Chooser(np.eye(2), np.ones(2, dtype=bool)), table) == 0


def test_without_negative_weights() -> None:
    soups = np.array([[1.0, 0.0], [0.0, 1.0], [-0.5, 1.5]])
    correct = np.array([[False, False], [True, False], [True, True]])
    results = results_of([table_of(correct, selection=2)], soups=soups)
    assert best_of(Chooser.of(results), results.tables[0]) == 2
    assert best_of(Chooser.of(results, convex=True), results.tables[0]) == 1


def test_the_single_soup_counts_each_set_alike() -> None:
    small = table_of(np.array([[True], [False]]), selection=1)
    large = table_of(np.array([[False] * 9 + [True], [False] * 10]), selection=10)
    other = table_of(np.array([[False] * 10, [True] * 8 + [False] * 2]), selection=10)
    chooser = Chooser(np.eye(2), np.ones(2, dtype=bool))
    assert chooser.top_of_mean([small, large, other], 2).tolist() == [0, 1]
