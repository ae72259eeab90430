"""Which refinement a job takes."""

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from search.evaluation import PLAIN, EvaluationRequest, Outcome, Refinement, SetOutcome, Weights
from search.loop import UNSTEERED, Executor, OnFound, Steering
from service.errors import InvalidRequest
from service.refinements import RefinementLimits
from service.schemas.request import Refine
from workers.evaluation.errors import EvaluationMemoryError
from workers.jobs.refining import (
    ADAPTED,
    REFITTED,
    RefinedModels,
    baseline_refinements,
    best_place,
    candidates,
    choose,
    evaluate_refined,
)

BOTH = Refinement("adapted", "refit")
FREE = RefinementLimits()
SOUPS: list[Weights] = [(1.0, 0.0), (0.5, 0.5)]


def outcome(nll: float) -> Outcome:
    likelihood = np.full(4, -nll, dtype=np.float32)
    found = SetOutcome(4, np.zeros(4, dtype=np.int32), np.ones(4, dtype=np.bool_), likelihood)
    return Outcome("complete", (found,))


def nll_of(found: Outcome) -> float | None:
    return found.sets[0].nll if found.status == "complete" else None


def models(nlls: Mapping[Refinement, float]) -> RefinedModels:
    return RefinedModels({each: (outcome(nll + 0.5), outcome(nll)) for each, nll in nlls.items()}, {})


@pytest.mark.parametrize(
    ("refine", "limits", "expected"),
    [
        (Refine(), FREE, [PLAIN]),
        (Refine(statistics="auto", head="auto"), FREE, [PLAIN, ADAPTED, REFITTED, BOTH]),
        (Refine(statistics="auto", head="auto"), RefinementLimits(statistics="no"), [PLAIN, REFITTED]),
        (Refine(statistics="auto", head="auto"), RefinementLimits("no", "no", "no"), [PLAIN]),
        (Refine(statistics="adapted", head="auto"), FREE, [ADAPTED, BOTH]),
        (Refine(head="refit"), FREE, [REFITTED]),
        (Refine(temperature=True), FREE, [PLAIN, Refinement(temperature=True)]),
        (Refine(head="refit", temperature=True), FREE, [REFITTED, Refinement(head="refit", temperature=True)]),
    ],
)
def test_candidates_are_what_the_request_leaves_open(
    refine: Refine, limits: RefinementLimits, expected: list[Refinement]
) -> None:
    assert candidates(refine, limits) == expected


def test_all_candidates_go_from_the_simplest() -> None:
    found = candidates(Refine(statistics="auto", head="auto", temperature=True), FREE)
    assert len(set(found)) == len(found) == 8
    assert [each.changes for each in found] == sorted(each.changes for each in found)


def test_the_best_model_decides_and_the_simplest_of_equals_is_taken() -> None:
    among = candidates(Refine(statistics="auto", head="auto"), FREE)
    nlls = {PLAIN: 1.0, ADAPTED: 0.7, REFITTED: 0.8, BOTH: 0.6}
    assert choose(models(nlls), among, nll_of) == BOTH
    assert choose(models(nlls | {ADAPTED: 0.6 + 5e-7}), among, nll_of) == ADAPTED
    assert choose(models(nlls | {ADAPTED: 0.6 + 5e-6}), among, nll_of) == BOTH
    assert choose(models(nlls), [REFITTED], nll_of) == REFITTED


def test_models_that_are_not_finite_choose_the_simplest() -> None:
    broken = Outcome("not_finite", outcome(1.0).sets)
    found = RefinedModels({PLAIN: (broken, broken), ADAPTED: (broken, broken)}, {})
    assert choose(found, [PLAIN, ADAPTED], nll_of) == PLAIN
    mixed = RefinedModels({PLAIN: (broken, broken), ADAPTED: (broken, outcome(2.0))}, {})
    assert choose(mixed, [PLAIN, ADAPTED], nll_of) == ADAPTED
    assert best_place(mixed.outcomes[ADAPTED], nll_of) == 1


class Picky(Executor):
    """Refuses some refinements, as an evaluator does a model that they do not fit."""

    def __init__(self, refused: Mapping[Refinement, Exception]) -> None:
        self._refused = refused

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        for place, request in enumerate(requests):
            if request.refinement in self._refused:
                raise self._refused[request.refinement]
            on_found([(place, outcome(float(request.weights[0] + request.refinement.changes)))])


def test_what_an_evaluator_refuses_is_left_out() -> None:
    picky = Picky({REFITTED: ValueError("no last layer"), BOTH: EvaluationMemoryError("too large")})
    found = evaluate_refined(picky, SOUPS, [ADAPTED, REFITTED, BOTH])
    assert found.refused == {REFITTED: "no last layer", BOTH: "too large"}
    assert [nll_of(each) for each in found.outcomes[ADAPTED]] == [2.0, 1.5]
    assert choose(found, [ADAPTED, REFITTED], nll_of) == ADAPTED
    with pytest.raises(InvalidRequest, match="no last layer") as caught:
        choose(found, [REFITTED], nll_of)
    assert (caught.value.code, caught.value.param) == ("not_refinable", "refine")


def test_every_soup_has_its_outcome_after_every_refinement() -> None:
    found = evaluate_refined(Picky({}), SOUPS, [ADAPTED, BOTH])
    assert [nll_of(each) for each in found.outcomes[ADAPTED]] == [2.0, 1.5]
    assert [nll_of(each) for each in found.outcomes[BOTH]] == [3.0, 2.5]
    assert evaluate_refined(Picky({}), SOUPS, []).outcomes == {}


def test_baselines_are_what_the_limits_allow() -> None:
    assert baseline_refinements(FREE) == [ADAPTED, REFITTED]
    assert baseline_refinements(RefinementLimits(statistics="no")) == [REFITTED]
    assert baseline_refinements(RefinementLimits(head="no")) == [ADAPTED]
