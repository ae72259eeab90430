import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.evaluation import Flags, Outcome, SetOutcome
from search.objectives import Measure, Objectives, combine, combine_losses, violation

CORRECT = np.array([True, True, True, False])
ROBUST = np.array([[True, True, False, False], [True, False, True, False], [False, False, False, False]])


def found(correct: Flags, robust: Flags | None = None) -> SetOutcome:
    likelihood = np.where(correct, -0.1, -2.0).astype(np.float32)
    return SetOutcome(len(correct), np.zeros(len(correct), dtype=np.int32), correct, likelihood, robust)


def value(measure: Measure, correct: Flags = CORRECT, robust: Flags | None = ROBUST) -> float:
    return measure.value([found(correct, robust)])


def test_mean_counts_each_set_alike() -> None:
    assert combine([0.2, 0.6]) == pytest.approx(0.4)


def test_worst_is_the_least_score_and_the_greatest_loss() -> None:
    assert combine([0.2, 0.6], "worst") == 0.2
    assert combine_losses([0.2, 0.6], "worst") == 0.6


def test_no_scores_are_refused() -> None:
    with pytest.raises(ValueError, match="at least one set"):
        combine([])


@pytest.mark.parametrize(
    ("measure", "expected"),
    [
        (Measure(), 0.75),
        (Measure((0,)), 0.5),
        (Measure((0, 1)), 0.25),
        (Measure((0, 1), "mean"), 0.5),
        (Measure((0, 1, 2), "mean"), 1 / 3),
        (Measure((0, 1, 2), "worst"), 0.0),
    ],
)
def test_threats_are_combined_image_by_image_or_by_their_accuracies(measure: Measure, expected: float) -> None:
    assert value(measure) == expected


def test_sets_are_combined_after_threats() -> None:
    measure = Measure((0, 1), "worst", "worst")
    other = np.array([[True, True], [True, False]])
    assert measure.value([found(CORRECT, ROBUST), found(np.ones(2, dtype=bool), other)]) == 0.5


def test_only_the_sets_that_count_are_combined() -> None:
    measure = Measure(sets=(0, 2))
    assert measure.of_sets(["a", "b", "c"]) == ["a", "c"]
    assert Measure().of_sets(["a", "b", "c"]) == ["a", "b", "c"]
    sets = [np.arange(4) < 3, np.zeros(9, dtype=bool), np.arange(4) < 1]
    assert measure.value([found(correct) for correct in sets]) == 0.5


def test_robust_accuracy_needs_attacks() -> None:
    with pytest.raises(ValueError, match="outcome of the attacks"):
        Measure((0,)).value([found(CORRECT)])


flags = st.integers(1, 5).flatmap(
    lambda threats: st.lists(st.lists(st.booleans(), min_size=threats, max_size=threats), min_size=1, max_size=30).map(
        lambda rows: np.array(rows).T
    )
)


@given(flags)
def test_the_union_is_at_most_the_worst_and_that_at_most_the_mean(robust: Flags) -> None:
    threats = tuple(range(len(robust)))
    correct = np.any(robust, axis=0)
    union, worst, mean = (value(Measure(threats, over), correct, robust) for over in ("union", "worst", "mean"))
    assert union <= worst <= mean + 1e-12
    assert mean <= value(Measure(), correct, robust) + 1e-12


likelihoods = st.lists(st.floats(-20, 0, width=32), min_size=1, max_size=20)


def likely(values: list[float]) -> SetOutcome:
    each = np.array(values, dtype=np.float32)
    return SetOutcome(len(each), np.zeros(len(each), dtype=np.int32), each > -0.5, each)


@given(likelihoods, likelihoods)
def test_nll_with_its_sign_reversed_is_combined_over_sets(first: list[float], second: list[float]) -> None:
    sets = [likely(first), likely(second)]
    means = [np.mean(each, dtype=np.float64) for each in (first, second)]
    assert Measure(metric="nll").value(sets) == pytest.approx(np.mean(means), abs=1e-6)
    assert Measure(metric="nll", over_sets="worst").value(sets) == pytest.approx(min(means), abs=1e-6)
    assert Measure(metric="nll", sets=(1,)).value(sets) == pytest.approx(means[1], abs=1e-6)


def test_nll_has_an_interval_and_a_paired_difference_but_no_p_value() -> None:
    objectives = Objectives((Measure(metric="nll"),))
    ours, theirs = (Outcome("complete", (likely(values),)) for values in ([-0.1, -0.4, -3.0], [-0.2, -0.6, -3.5]))
    assert objectives.value(ours) == pytest.approx(-3.5 / 3)
    low, high = objectives.interval(ours) or (0.0, 0.0)
    assert -3.0 <= low < -3.5 / 3 < high <= -0.1
    test = objectives.compare(ours, theirs)
    assert test is not None
    assert test.difference == pytest.approx(0.8 / 3)
    assert test.p_value is None
    assert test.interval[0] > 0
    assert objectives.metrics(ours) == [pytest.approx(2 / 3)]
    assert objectives.interval(Outcome("not_finite", ours.sets)) is None


def test_violations_add_up() -> None:
    assert violation([0.9, 0.5], [0.85, 0.5]) == 0
    assert violation([0.8, 0.3], [0.85, 0.5]) == pytest.approx(0.25)


def test_only_complete_outcomes_have_a_score() -> None:
    objectives = Objectives(constraints=((Measure(), 0.9),))
    sets = (found(CORRECT),)
    evaluation = objectives.evaluation((1.0,), Outcome("complete", sets))
    assert evaluation.score == 0.75
    assert evaluation.violation == pytest.approx(0.15)
    assert evaluation.nll == pytest.approx(0.575)
    for status in ("not_finite", "pruned", "stopped"):
        broken = objectives.evaluation((1.0,), Outcome(status, sets))
        assert (broken.score, broken.violation) == (None, 0.0)


def test_without_the_attacks_that_are_measured_there_is_no_score() -> None:
    objectives = Objectives((Measure((0,)),), threats=1)
    assert objectives.value(Outcome("complete", (found(CORRECT),))) is None
    assert objectives.value(Outcome("complete", (found(CORRECT, ROBUST[:1]),))) == 0.5


def test_a_set_without_labels_says_what_it_lacks() -> None:
    unlabelled = SetOutcome(2, np.zeros(2, dtype=np.int32))
    with pytest.raises(ValueError, match="needs no labels"):
        Objectives().value(Outcome("complete", (unlabelled,)))
