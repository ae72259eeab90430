"""From measurements to points and documents."""

import math

import numpy as np
import pytest

from service.schemas.request import AdaptRequest
from workers.evaluation.scores import ImageDetail, Passes, SetScore, SoupScore
from workers.jobs.scoring import Scoring

SETS = ["a" * 64, "b" * 64]


LINF = {"norm": "Linf", "eps": 0.1}
L1 = {"norm": "L1", "eps": 12, "larger_radii": True}


def scoring_of(**fields: object) -> Scoring:
    return Scoring(AdaptRequest.model_validate({"pantry": "tiny"} | fields), SETS)


def attacked() -> SoupScore:
    """Two sets of 4 and 2 images, right on all; two attacks."""
    flags = [np.array([[1, 1, 1, 0], [0, 1, 1, 0]], dtype=bool), np.array([[1, 0], [0, 1]], dtype=bool)]
    sets = tuple(
        SetScore(size, size, size, 1.0, ImageDetail(np.ones(size, dtype=bool), np.zeros(size)), robust)
        for size, robust in zip((4, 2), flags, strict=True)
    )
    return SoupScore(
        weights=(0.5, 0.5),
        sets=sets,
        finite=True,
        complete=True,
        attacks=Passes(60, 54),
        floored_channels=0,
        seconds=1.0,
    )


def score(*, finite: bool = True, complete: bool = True) -> SoupScore:
    sets = (SetScore(9, 10, 10, 2.0), SetScore(10, 20, 20, 30.0 if finite else math.inf))
    return SoupScore(weights=(0.25, 0.75), sets=sets, finite=finite, complete=complete, floored_channels=3, seconds=0.5)


@pytest.mark.parametrize(("over_sets", "value", "nll"), [("mean", 0.7, 0.85), ("worst", 0.5, 1.5)])
def test_a_point_holds_the_objective_and_each_set(over_sets: str, value: float, nll: float) -> None:
    scoring = scoring_of(objective={"over_sets": over_sets})
    point = scoring.point(score(), 7)
    assert (point.index, point.weights, point.images, point.floored_channels) == (7, [0.25, 0.75], 30, 3)
    assert point.score == pytest.approx(value)
    assert point.nll == pytest.approx(nll)
    assert [(each.set, each.correct, each.images) for each in point.sets] == [(SETS[0], 9, 10), (SETS[1], 10, 20)]
    assert scoring.evaluation(score()).score == point.score
    assert scoring.per_set(score())[SETS[1]].score == 0.5


@pytest.mark.parametrize("broken", [{"finite": False}, {"complete": False}])
def test_a_broken_soup_has_no_score(broken: dict[str, bool]) -> None:
    scoring = scoring_of()
    point = scoring.point(score(**broken), 0)
    assert (point.score, point.nll, point.sets) == (None, None, [])
    assert scoring.evaluation(score(**broken)).score is None
    assert type(point).model_validate_json(point.model_dump_json()) == point


def test_a_point_under_attack_holds_every_threat_and_their_union() -> None:
    scoring = scoring_of(objective={"metric": "robust_accuracy", "threats": [LINF, L1]})
    point = scoring.point(attacked(), 3)
    assert point.score == (0.5 + 0.0) / 2
    assert point.metrics == {
        "accuracy": 1.0,
        "Linf:0.1": (0.75 + 0.5) / 2,
        "L1:12 larger_radii=True": (0.5 + 0.5) / 2,
        "union": 0.25,
    }
    assert point.sets[0].robust == {"Linf:0.1": 3, "L1:12 larger_radii=True": 2, "union": 2}
    assert (point.images, point.backward) == (66, 54)
    document = scoring.document(attacked())
    assert document.interval is not None
    assert document.interval[0] <= document.score <= document.interval[1]
    assert type(point).model_validate_json(point.model_dump_json()) == point


def test_several_objectives_and_constraints_are_named_and_summed() -> None:
    scoring = scoring_of(
        objectives=[
            {"name": "clean"},
            {"name": "linf", "metric": "robust_accuracy", "threats": [LINF], "over_sets": "worst"},
            {"name": "both", "metric": "robust_accuracy", "threats": [LINF, L1], "over_threats": "worst"},
        ],
        constraints=[
            {"at_least": 0.9},
            {"metric": "robust_accuracy", "threats": [L1], "at_least": 0.8},
        ],
    )
    point = scoring.point(attacked(), 0)
    assert point.objectives == {"clean": 1.0, "linf": 0.5, "both": 0.5}
    assert point.score == 1.0
    assert scoring.constraint_values(attacked()) == [1.0, 0.5]
    assert point.violation == pytest.approx(0.3)
    assert scoring.evaluation(attacked()).objectives == point.objectives


def test_objective_and_constraint_are_measured_on_the_sets_they_name() -> None:
    scoring = scoring_of(
        objective={"adaptation_sets": [SETS[1]]},
        constraints=[
            {"at_least": 0.95, "adaptation_sets": [SETS[0]]},
            {"at_least": 0.7, "adaptation_sets": SETS[::-1]},
        ],
    )
    point = scoring.point(score(), 0)
    assert (point.score, point.nll) == (0.5, 1.5)
    assert point.constraints == [0.9, pytest.approx(0.7)]
    assert point.violation == pytest.approx(0.05)
    assert [each.set for each in point.sets] == SETS
    per_set = scoring.per_set(score())
    assert {digest: each.score for digest, each in per_set.items()} == {SETS[0]: 0.9, SETS[1]: 0.5}
    assert per_set[SETS[0]].nll == pytest.approx(0.2)
    assert scoring.of_sets(["first", "second"]) == ["second"]


def test_under_attack_metrics_and_interval_are_of_the_objectives_sets() -> None:
    robust = {"metric": "robust_accuracy", "threats": [LINF, L1], "adaptation_sets": [SETS[0]]}
    scoring = scoring_of(objective=robust, constraints=[{"at_least": 0.9, "adaptation_sets": [SETS[1]]}])
    document = scoring.document(attacked())
    assert document.score == document.metrics["union"] == 0.5
    assert document.metrics == {"accuracy": 1.0, "Linf:0.1": 0.75, "L1:12 larger_radii=True": 0.5, "union": 0.5}
    assert [rows.shape for rows in scoring.outcomes(attacked())] == [(1, 4)]
    assert document.interval == scoring.per_set(attacked())[SETS[0]].interval
    assert scoring.per_set(attacked())[SETS[1]].score == 0.0


def test_objectives_on_different_sets_are_a_front_of_sets() -> None:
    objectives = [{"name": name, "adaptation_sets": [digest]} for name, digest in zip("ab", SETS, strict=True)]
    assert scoring_of(objectives=objectives).point(score(), 0).objectives == {"a": 0.9, "b": 0.5}


def test_without_the_outcome_of_attacks_there_is_no_score() -> None:
    scoring = scoring_of(objective={"metric": "robust_accuracy", "threats": [LINF]})
    assert scoring.value(score()) is None
    assert scoring.nll(score()) is not None
    assert (scoring.metrics(score()), scoring.interval(score())) == ({}, None)
    assert scoring.compare(score(), score()) is None
