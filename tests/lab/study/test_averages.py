import numpy as np
import pytest

from lab.study.averages import Average
from lab.study.methods import BEST_INGREDIENT, CONVEX, SINGLE, SPECIFIC, UNIFORM, best_pair, methods
from lab.study.results import LOGITS, SOFTMAX
from tests.lab.study.tables import outcomes, results_of, table_of


def test_each_set_counts_alike() -> None:
    tables = [table_of(np.zeros((1, count + 1), bool), name=f"{count}", family=f"{count}") for count in (4, 40)]
    average = Average(tables)
    assert average.estimate({"4": np.ones(4, bool), "40": np.zeros(40, bool)}).value == 0.5


def test_images_of_one_family_are_drawn_together() -> None:
    """The same hard images under two shifts tell no more than under one; other images do."""
    hard = outcomes(0.5, 200)
    names = ("a-1", "a-2")
    alike = [table_of(np.zeros((1, 201), bool), name=name) for name in names]
    apart = [table_of(np.zeros((1, 201), bool), name=name, family=name) for name in names]
    together = Average(alike).estimate(dict.fromkeys(names, hard))
    separate = Average(apart).estimate(dict.fromkeys(names, hard))
    assert together.high - together.low == pytest.approx(np.sqrt(2) * (separate.high - separate.low), rel=0.15)


def test_sets_of_one_family_may_differ_in_size() -> None:
    """As corruptions of one folder do where some of their files are missing."""
    tables = [table_of(np.zeros((1, size + 1), bool), name=f"fog-{size}") for size in (4, 40)]
    assert Average(tables).estimate({"fog-4": np.ones(4, bool), "fog-40": np.zeros(40, bool)}).value == 0.5


def test_differences_are_paired_by_image() -> None:
    table = table_of(np.zeros((1, 401), bool))
    ours, theirs = outcomes(0.5), outcomes(0.5)
    theirs[np.flatnonzero(ours)[:8]] = False
    difference = Average([table]).difference({"contrast-1": ours}, {"contrast-1": theirs})
    assert difference.value == pytest.approx(0.02)
    assert 0 < difference.low < difference.high < 0.04


def test_a_mean_needs_a_set() -> None:
    with pytest.raises(ValueError, match="at least one data set"):
        Average([])


def test_methods_choose_on_selection_images_and_score_on_the_others() -> None:
    soups = np.array([[1.0, 0.0], [0.0, 1.0], [0.5, 0.5], [-0.5, 1.5]])
    pair = SOFTMAX + "linf + l1"
    right, wrong = [True, True], [False, False]
    first = np.array([[*right, *wrong], [*wrong, *right], [True, False, True, False], [*wrong, *right]])
    second = np.array([[*wrong, *right], [True, False, True, True], [*wrong, *wrong], [*right, False, True]])
    others = {pair: np.array([True, False, False, True]), LOGITS + "linf + l1": np.array([False, True, True, False])}
    tables = [
        table_of(first, name="fog-1", selection=2, others=others),
        table_of(second, name="fog-2", selection=2, others=others),
    ]
    results = results_of(tables, soups=soups)
    found = {name: {s: o.tolist() for s, o in each.items()} for name, each in methods(results).items()}
    assert found["linf"] == {"fog-1": wrong, "fog-2": right}
    assert found[SPECIFIC] == {"fog-1": wrong, "fog-2": [False, True]}
    assert found[CONVEX] == {"fog-1": wrong, "fog-2": right}
    assert found[BEST_INGREDIENT] == {"fog-1": wrong, "fog-2": right}
    assert found[UNIFORM] == {"fog-1": [True, False], "fog-2": wrong}
    assert found[SINGLE]["fog-1"] in (wrong, right)
    assert found["softmax ensemble of 2"] == {"fog-1": [False, True], "fog-2": [False, True]}
    assert found["logit ensemble of all"] == {"fog-1": [True, False], "fog-2": [True, False]}
    assert not any(name.startswith(LOGITS + "linf") for name in found)
    assert best_pair(results) == pair
