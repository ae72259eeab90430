"""From measurements to points and documents."""

from dataclasses import replace

import numpy as np
import pytest

from search.evaluation import Flags, Outcome, Passes, SetOutcome, Status
from service.schemas.request import AdaptRequest
from workers.jobs.scoring import Scoring

SETS = ["a" * 64, "b" * 64]


LINF = {"norm": "Linf", "eps": 0.1}
L1 = {"norm": "L1", "eps": 12, "larger_radii": True}


def scoring_of(**fields: object) -> Scoring:
    return Scoring(AdaptRequest.model_validate({"pantry": "tiny", "preset": "paper"} | fields), SETS)


WEIGHTS = (0.25, 0.75)


def found(right: int, images: int, nll: float, robust: Flags | None = None) -> SetOutcome:
    likelihood = np.full(images, -nll, dtype=np.float32)
    return SetOutcome(images, np.zeros(images, dtype=np.int32), np.arange(images) < right, likelihood, robust)


def attacked() -> Outcome:
    """Two sets of 4 and 2 images, right on all; two attacks."""
    flags = [np.array([[1, 1, 1, 0], [0, 1, 1, 0]], dtype=bool), np.array([[1, 0], [0, 1]], dtype=bool)]
    sets = tuple(found(size, size, 1.0, robust) for size, robust in zip((4, 2), flags, strict=True))
    return Outcome("complete", sets, Passes(66, 54), seconds=1.0)


def outcome(status: Status = "complete") -> Outcome:
    sets = (found(9, 10, 0.2), found(10, 20, 1.5))
    return Outcome(status, sets, Passes(30), floored_channels=3, seconds=0.5)


@pytest.mark.parametrize(("over_sets", "value", "nll"), [("mean", 0.7, 0.85), ("worst", 0.5, 1.5)])
def test_a_point_holds_the_objective_and_each_set(over_sets: str, value: float, nll: float) -> None:
    scoring = scoring_of(objective={"over_sets": over_sets})
    point = scoring.point(WEIGHTS, outcome(), 7)
    assert (point.index, point.weights, point.images, point.floored_channels) == (7, [0.25, 0.75], 30, 3)
    assert point.score == pytest.approx(value)
    assert point.nll == pytest.approx(nll)
    assert [(each.set, each.correct, each.images) for each in point.sets] == [(SETS[0], 9, 10), (SETS[1], 10, 20)]
    assert scoring.objectives.evaluation(WEIGHTS, outcome()).score == point.score
    assert scoring.per_set(outcome())[SETS[1]].score == 0.5


@pytest.mark.parametrize("status", ["not_finite", "pruned", "stopped"])
def test_a_soup_that_was_not_seen_whole_or_not_finite_has_no_score(status: Status) -> None:
    scoring = scoring_of()
    point = scoring.point(WEIGHTS, outcome(status), 0)
    assert (point.score, point.nll, point.sets) == (None, None, [])
    assert (point.finite, point.pruned) == (status != "not_finite", status == "pruned")
    assert type(point).model_validate_json(point.model_dump_json()) == point


def test_a_point_under_attack_holds_every_threat_and_their_union() -> None:
    scoring = scoring_of(objective={"metric": "robust_accuracy", "threats": [LINF, L1]})
    point = scoring.point(WEIGHTS, attacked(), 3)
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
    point = scoring.point(WEIGHTS, attacked(), 0)
    assert point.objectives == {"clean": 1.0, "linf": 0.5, "both": 0.5}
    assert point.score == 1.0
    assert scoring.objectives.constraint_values(attacked()) == [1.0, 0.5]
    assert point.violation == pytest.approx(0.3)
    assert scoring.objectives.evaluation(WEIGHTS, attacked()).objectives == point.objectives


def test_objective_and_constraint_are_measured_on_the_sets_they_name() -> None:
    scoring = scoring_of(
        objective={"adaptation_sets": [SETS[1]]},
        constraints=[
            {"at_least": 0.95, "adaptation_sets": [SETS[0]]},
            {"at_least": 0.7, "adaptation_sets": SETS[::-1]},
        ],
    )
    point = scoring.point(WEIGHTS, outcome(), 0)
    assert (point.score, point.nll) == (0.5, 1.5)
    assert point.constraints == [0.9, pytest.approx(0.7)]
    assert point.violation == pytest.approx(0.05)
    assert [each.set for each in point.sets] == SETS
    per_set = scoring.per_set(outcome())
    assert {digest: each.score for digest, each in per_set.items()} == {SETS[0]: 0.9, SETS[1]: 0.5}
    assert per_set[SETS[0]].nll == pytest.approx(0.2)
    assert scoring.of_sets(["first", "second"]) == ["second"]


def test_under_attack_metrics_and_interval_are_of_the_objectives_sets() -> None:
    robust = {"metric": "robust_accuracy", "threats": [LINF, L1], "adaptation_sets": [SETS[0]]}
    scoring = scoring_of(objective=robust, constraints=[{"at_least": 0.9, "adaptation_sets": [SETS[1]]}])
    document = scoring.document(attacked())
    assert document.score == document.metrics["union"] == 0.5
    assert document.metrics == {"accuracy": 1.0, "Linf:0.1": 0.75, "L1:12 larger_radii=True": 0.5, "union": 0.5}
    assert [rows.shape for rows in scoring.objectives.image_values(attacked())] == [(1, 4)]
    assert document.interval == scoring.per_set(attacked())[SETS[0]].interval
    assert scoring.per_set(attacked())[SETS[1]].score == 0.0


def test_objectives_on_different_sets_are_a_front_of_sets() -> None:
    objectives = [{"name": name, "adaptation_sets": [digest]} for name, digest in zip("ab", SETS, strict=True)]
    assert scoring_of(objectives=objectives).point(WEIGHTS, outcome(), 0).objectives == {"a": 0.9, "b": 0.5}


def test_without_the_outcome_of_attacks_there_is_no_score() -> None:
    scoring = scoring_of(objective={"metric": "robust_accuracy", "threats": [LINF]})
    objectives = scoring.objectives
    assert objectives.value(outcome()) is None
    assert objectives.nll(outcome()) is not None
    assert (scoring.metrics(outcome()), objectives.interval(outcome())) == ({}, None)
    assert objectives.compare(outcome(), outcome()) is None


def test_models_compared_by_likelihood_are_compared_by_accuracy_too() -> None:
    """Likelier, with as many right."""
    theirs = outcome()
    ours = replace(theirs, sets=(found(9, 10, 0.1), found(10, 20, 1.0)))
    test = scoring_of(objective={"metric": "nll"}).paired_test(ours, theirs, "l1")
    assert test is not None
    assert test.against == "l1"
    assert test.difference == pytest.approx(0.3)
    assert test.p_value is None
    assert test.accuracy is not None
    assert (test.accuracy.difference, test.accuracy.interval, test.accuracy.p_value) == (0.0, (0.0, 0.0), 1.0)
    worst = scoring_of(objective={"metric": "nll", "over_sets": "worst"}).paired_test(ours, outcome(), "l1")
    assert worst is not None
    assert worst.difference == pytest.approx(0.5)
    plain = scoring_of().paired_test(ours, theirs, "l1")
    assert plain is not None
    assert (plain.p_value, plain.accuracy) == (1.0, None)
    assert scoring_of(objective={"metric": "nll"}).paired_test(ours, outcome("not_finite"), "l1") is None
