import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.evaluation import EvaluationRequest, Outcome, SetOutcome, Weights
from search.objectives import Measure, Objectives
from search.ranking import rank
from search.selection import MOST_SOUPS, cross_validated
from search.testing import Landscape
from tests.search.outcomes import assert_same


def coins(soups: int, images: int, seed: int, chance: float = 0.5) -> list[tuple[Weights, Outcome]]:
    """Soups that are right by chance alone."""
    rng = np.random.default_rng(seed)
    found: list[tuple[Weights, Outcome]] = []
    for place in range(soups):
        right = rng.random(images) < chance
        likelihood = np.where(right, -0.5, -1.0).astype(np.float32)
        outcome = Outcome("complete", (SetOutcome(images, right.astype(np.int32), right, likelihood),))
        found.append(((float(place), 1.0 - place), outcome))
    return found


@given(st.integers(0, 2**16), st.integers(2, 5), st.integers(10, 40))
def test_each_image_is_that_of_the_soup_chosen_without_its_fold(seed: int, folds: int, images: int) -> None:
    found = coins(6, images, seed)
    objectives = Objectives()
    whole = cross_validated(objectives, found, folds)
    assert whole is not None
    for image in range(images):
        kept = [np.flatnonzero(np.arange(images) % folds != image % folds)]
        best = rank(objectives.evaluation(weights, outcome.of_images(kept)) for weights, outcome in found)[0]
        chosen = dict(found)[best.weights].sets[0]
        assert whole.sets[0].right[image] == chosen.right[image]
        assert whole.sets[0].prediction[image] == chosen.prediction[image]


def test_folds_have_their_share_of_every_class() -> None:
    """Labels tell the folds, in whatever order images are; without labels, places do."""
    labels = np.arange(40) % 10
    accepted = labels[:, None] == np.arange(10)
    found = coins(40, 40, 3)
    whole = cross_validated(Objectives(accepted=(accepted,)), found)
    order = np.argsort(labels, kind="stable")
    in_order = [(weights, outcome.of_images([order])) for weights, outcome in found]
    expected = cross_validated(Objectives(accepted=(accepted[order],)), in_order)
    assert whole is not None
    assert expected is not None
    assert_same(whole.of_images([order]), expected)
    by_place = cross_validated(Objectives(), in_order)
    assert by_place is not None
    assert_same(by_place, expected)
    assert_same(cross_validated(Objectives(accepted=(None,)), in_order) or whole, by_place)


def test_one_soup_is_itself() -> None:
    [(weights, outcome)] = coins(1, 30, 0)
    whole = cross_validated(Objectives(), [(weights, outcome)])
    assert whole is not None
    assert_same(whole, outcome)


def test_the_luck_of_the_best_of_many_is_taken_away() -> None:
    """Fifty soups that guess: the best looks far better than chance, and is not."""
    best, corrected = [], []
    for seed in range(40):
        found = coins(50, 100, seed)
        whole = cross_validated(Objectives(), found)
        assert whole is not None
        best.append(max(outcome.sets[0].accuracy for _, outcome in found))
        corrected.append(whole.sets[0].accuracy)
    assert np.mean(best) > 0.6
    assert np.mean(corrected) == pytest.approx(0.5, abs=0.03)


def test_sets_keep_their_images_and_objectives_their_meaning() -> None:
    landscape = Landscape(3, images=50)
    soups: list[Weights] = [tuple(row) for row in np.random.default_rng(0).dirichlet(np.ones(3), 8).tolist()]
    outcomes = [landscape.outcome(EvaluationRequest(soup)) for soup in soups]
    twice = [Outcome("complete", (*each.sets, each.sets[0].of_images(np.arange(20)))) for each in outcomes]
    objectives = Objectives((Measure(metric="nll", over_sets="worst"),))
    whole = cross_validated(objectives, list(zip(soups, twice, strict=True)))
    assert whole is not None
    assert [each.seen for each in whole.sets] == [50, 20]
    assert (objectives.value(whole) or 0.0) <= max(objectives.value(each) or 0.0 for each in twice)


def test_where_nothing_can_be_said_nothing_is() -> None:
    assert cross_validated(Objectives(), []) is None
    assert cross_validated(Objectives(), coins(3, 9, 0)) is None
    assert cross_validated(Objectives(threats=1), coins(3, 30, 0)) is None
    assert cross_validated(Objectives(), coins(1, 30, 0) * (MOST_SOUPS + 1)) is None
