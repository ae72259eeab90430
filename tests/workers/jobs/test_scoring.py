"""From measurements to points and documents."""

import math

import pytest

from workers.evaluation.scores import SetScore, SoupScore
from workers.jobs.scoring import Scoring

SETS = ["a" * 64, "b" * 64]


def score(*, finite: bool = True, complete: bool = True) -> SoupScore:
    sets = (SetScore(9, 10, 10, 2.0), SetScore(10, 20, 20, 30.0 if finite else math.inf))
    return SoupScore(weights=(0.25, 0.75), sets=sets, finite=finite, complete=complete, floored_channels=3, seconds=0.5)


@pytest.mark.parametrize(("over_sets", "value", "nll"), [("mean", 0.7, 0.85), ("worst", 0.5, 1.5)])
def test_a_point_holds_the_objective_and_each_set(over_sets: str, value: float, nll: float) -> None:
    scoring = Scoring("worst" if over_sets == "worst" else "mean", SETS)
    point = scoring.point(score(), 7)
    assert (point.index, point.weights, point.images, point.floored_channels) == (7, [0.25, 0.75], 30, 3)
    assert point.score == pytest.approx(value)
    assert point.nll == pytest.approx(nll)
    assert [(each.set, each.correct, each.images) for each in point.sets] == [(SETS[0], 9, 10), (SETS[1], 10, 20)]
    assert scoring.evaluation(score()).score == point.score
    assert scoring.per_set(score())[SETS[1]].score == 0.5


@pytest.mark.parametrize("broken", [{"finite": False}, {"complete": False}])
def test_a_broken_soup_has_no_score(broken: dict[str, bool]) -> None:
    scoring = Scoring("mean", SETS)
    point = scoring.point(score(**broken), 0)
    assert (point.score, point.nll, point.sets) == (None, None, [])
    assert scoring.evaluation(score(**broken)).score is None
    assert type(point).model_validate_json(point.model_dump_json()) == point
