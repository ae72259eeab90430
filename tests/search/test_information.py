import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy

from search.evaluation import Outcome, SetOutcome
from search.information import UnlabelledSet, weight_beside
from search.objectives import Measure, Objectives

PLAIN = UnlabelledSet(0)


def logits_of(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(scale=3, size=shape)


@given(st.integers(0, 2**16), st.integers(1, 30), st.integers(2, 6))
def test_mutual_information_is_that_of_images_and_classes(seed: int, images: int, classes: int) -> None:
    logits = logits_of(seed, images, classes)
    shares = softmax(logits, axis=1)
    expected = entropy(shares.mean(axis=0)) - np.mean([entropy(row) for row in shares])
    found = float(PLAIN.mutual_information(logits))
    assert found == pytest.approx(expected, abs=1e-9)
    assert -1e-9 <= found <= np.log(min(images, classes)) + 1e-9
    uniform = UnlabelledSet(0, prior=(1 / classes,) * classes)
    assert float(uniform.mutual_information(logits)) == pytest.approx(found, abs=1e-9)


@given(st.integers(0, 2**16))
def test_a_prior_stands_in_for_equal_shares(seed: int) -> None:
    logits, prior = logits_of(seed, 20, 3), (0.6, 0.3, 0.1)
    shares = softmax(logits, axis=1)
    divergence = entropy(shares.mean(axis=0), np.array(prior))
    expected = np.log(3) - divergence - np.mean([entropy(row) for row in shares])
    assert float(UnlabelledSet(0, prior=prior).mutual_information(logits)) == pytest.approx(expected, abs=1e-9)


def test_predictions_as_common_as_the_prior_says_are_best() -> None:
    def sure(counts: list[int]) -> np.ndarray:
        return np.repeat(np.eye(3) * 100, counts, axis=0)

    informed = UnlabelledSet(0, prior=(0.8, 0.1, 0.1))
    balanced, skewed, collapsed = sure([10, 10, 10]), sure([24, 3, 3]), sure([30, 0, 0])
    assert PLAIN.mutual_information(balanced) == pytest.approx(np.log(3))
    assert PLAIN.mutual_information(collapsed) == pytest.approx(0)
    assert PLAIN.mutual_information(balanced) > PLAIN.mutual_information(skewed)
    assert informed.mutual_information(skewed) > informed.mutual_information(balanced)
    assert informed.mutual_information(skewed) > informed.mutual_information(collapsed)


def test_columns_of_several_classes_are_means_of_their_softmax() -> None:
    logits = logits_of(1, 12, 5)
    shares = softmax(logits, axis=1)
    means = np.stack([shares[:, [0, 3]].mean(axis=1), shares[:, 2]], axis=1)
    columns = UnlabelledSet(0, columns=((0, 3), (2,)))
    expected = means / means.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(np.exp(columns.log_probabilities(logits)), expected)
    assert float(columns.mutual_information(logits)) == pytest.approx(
        entropy(expected.mean(axis=0)) - np.mean([entropy(row) for row in expected])
    )


def test_soups_are_read_together_as_alone() -> None:
    logits = logits_of(2, 4, 9, 3)
    np.testing.assert_allclose(PLAIN.mutual_information(logits), [PLAIN.mutual_information(each) for each in logits])


@pytest.mark.parametrize(
    ("labelled", "weight"), [(0, 1), (20, 1), (21, 29 / 30), (35, 0.5), (49, 1 / 30), (50, 0), (1000, 0)]
)
def test_the_weight_falls_as_labels_grow(labelled: int, weight: float) -> None:
    assert weight_beside(labelled) == pytest.approx(weight)


def outcome(seed: int = 0) -> Outcome:
    """Two labelled images, and three without a label."""
    logits = logits_of(seed, 3, 4).astype(np.float32)
    labelled = SetOutcome(
        2,
        np.zeros(2, np.int32),
        np.array([True, False]),
        np.array([-0.5, -1.5], np.float32),
        logits=np.zeros((2, 4), np.float32),
    )
    return Outcome("complete", (labelled, SetOutcome(3, logits.argmax(axis=1).astype(np.int32), logits=logits)))


def test_likelihood_and_mutual_information_add_up() -> None:
    unlabelled = (UnlabelledSet(1),)
    both = Measure(metric="mutual_information", sets=(0,), unlabelled=unlabelled, weight=0.5)
    alone = Measure(metric="mutual_information", sets=(), unlabelled=unlabelled)
    found = outcome()
    information = float(UnlabelledSet(1).mutual_information(found.sets[1].logits))  # type: ignore[arg-type]
    assert alone.value(found.sets) == pytest.approx(information)
    assert both.value(found.sets) == pytest.approx(-1 + 0.5 * information)

    objectives = Objectives((alone,))
    assert objectives.reads_logits
    assert objectives.nll(found) is None
    assert objectives.loss(found) == pytest.approx(-information)
    assert (objectives.metrics(found), objectives.interval(found), objectives.compare(found, found)) == ([], None, None)
    assert Objectives((both,)).nll(found) == pytest.approx(1)
    assert Objectives((both,)).metrics(found) == [0.5]


def test_without_logits_there_is_no_score() -> None:
    objectives = Objectives((Measure(metric="mutual_information", sets=(), unlabelled=(UnlabelledSet(1),)),))
    bare = outcome().without_logits()
    assert not objectives.is_valid(bare)
    assert objectives.value(bare) is None
    with pytest.raises(ValueError, match="ask for them"):
        objectives.first.value(bare.sets)
    with pytest.raises(ValueError, match="of a set"):
        objectives.first.outcomes(outcome().sets[1])
