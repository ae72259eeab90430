import random

from hypothesis import given
from hypothesis import strategies as st

from search.ranking import Evaluation, distance_to_uniform, rank

evaluations = st.lists(
    st.builds(
        Evaluation,
        weights=st.tuples(st.sampled_from([-0.2, 0.0, 0.4]), st.sampled_from([0.0, 0.6, 1.2])),
        score=st.one_of(st.none(), st.sampled_from([0.5, 0.6])),
        nll=st.one_of(st.none(), st.sampled_from([1.0, 1.0 + 1e-9, 2.0])),
    ),
    unique_by=lambda evaluation: evaluation.weights,
)


@given(evaluations, st.randoms(use_true_random=False))
def test_the_order_of_arrival_never_matters(soups: list[Evaluation], shuffle: random.Random) -> None:
    shuffled = list(soups)
    shuffle.shuffle(shuffled)
    assert rank(shuffled) == rank(soups)


@given(evaluations)
def test_what_has_no_score_is_never_listed(soups: list[Evaluation]) -> None:
    assert {soup.weights for soup in rank(soups)} == {soup.weights for soup in soups if soup.score is not None}


def test_ties_fall_to_the_likelier_then_the_more_uniform_then_lexicographic_order() -> None:
    better = Evaluation((1.0, 0.0), 0.9, 3.0)
    likelier = Evaluation((0.0, 1.0), 0.8, 1.0)
    central = Evaluation((0.5, 0.5), 0.8, 2.0)
    first, second = Evaluation((0.2, 0.8), 0.8, 2.0), Evaluation((0.8, 0.2), 0.8, 2.0 + 1e-9)
    assert rank([second, first, central, likelier, better]) == [better, likelier, central, first, second]


def test_mirrored_weights_are_equally_far_from_uniform() -> None:
    assert distance_to_uniform((0.2, 0.8, 0.0)) == distance_to_uniform((0.8, 0.0, 0.2))


def test_soups_that_hold_the_constraints_go_first_then_the_least_violation() -> None:
    poor, good, worse = (
        Evaluation((1.0,), 0.2),
        Evaluation((1.1,), 0.9, violation=0.1),
        Evaluation((1.2,), 1.0, 0.1, 0.2),
    )
    assert rank([worse, good, poor]) == [poor, good, worse]


def test_equal_scores_are_told_apart_by_the_other_objectives_before_the_likelihood() -> None:
    likelier = Evaluation((1.0,), 0.5, 0.1, objectives={"first": 0.5, "second": 0.1})
    better = Evaluation((0.9,), 0.5, 0.9, objectives={"first": 0.5, "second": 0.2})
    assert rank([likelier, better]) == [better, likelier]
