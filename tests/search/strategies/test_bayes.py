import json

import numpy as np
import pytest
from pydantic import ValidationError

from search.budget import Budget
from search.evaluation import EvaluationRequest, Outcome, Weights
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.ranking import Evaluation, rank
from search.space import SearchError, Space
from search.strategies.bayes import KIND, Bayes, starts
from search.testing import Landscape, LandscapeExecutor, Trace

NLL = (Measure(metric="nll"),)


def searched(
    landscape: Landscape, objectives: Objectives, space: Space | None = None, **request: object
) -> list[Evaluation]:
    """The soups in the order proposed."""
    asked = Bayes.model_validate(request)
    space = space or Space(landscape.size)
    trace = Trace()
    strategy = KIND.start(asked, space, objectives, 0)
    run_search(strategy, KIND.bound(asked, space), LandscapeExecutor(landscape), trace, trace)
    return [objectives.evaluation(soup.weights, trace.found_now[soup]) for soup in trace.soups]


def every(landscape: Landscape, objectives: Objectives) -> list[Evaluation]:
    soups: list[Weights] = [tuple(row) for row in Bayes().lattice(Space(landscape.size)).weights().tolist()]
    return [objectives.evaluation(soup, landscape.outcome(EvaluationRequest(soup))) for soup in soups]


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("is_read", [True, False], ids=["logits", "scores"])
def test_it_finds_the_grids_likelihood_with_few_evaluations(seed: int, is_read: bool) -> None:
    landscape = Landscape(4, images=100, classes=5, seed=seed)
    objectives = Objectives(NLL, accepted=(landscape.accepted,) if is_read else ())
    found = searched(landscape, objectives)
    best = rank(every(landscape, objectives))[0]
    assert (best.score or 0.0) - (rank(found)[0].score or 0.0) < (0.005 if is_read else 0.03)


def test_it_starts_from_ingredients_and_uniform_soup_and_stops_when_nothing_is_expected() -> None:
    landscape = Landscape(3, images=50)
    objectives = Objectives(NLL, accepted=(landscape.accepted,))
    found = searched(landscape, objectives, tolerance=0.01)
    assert [each.weights for each in found[:4]] == starts(3)
    assert len(found) < 32


def test_constraints_are_met_at_the_cost_of_the_objective() -> None:
    landscape = Landscape(3, images=100, seed=3)
    labels = (landscape.accepted,)
    free = rank(searched(landscape, Objectives(NLL, accepted=labels)))[0]
    least = rank(every(landscape, Objectives()))[0].score or 0.0
    bound = Objectives(NLL, (), ((Measure(), least),), accepted=labels)
    found = rank(searched(landscape, bound))[0]
    assert found.violation == 0
    assert (found.score or 0.0) <= (free.score or 0.0)


def test_several_objectives_are_all_served() -> None:
    landscape = Landscape(3, images=200, seed=5)
    objectives = Objectives((Measure(), *NLL), ("accuracy", "nll"), accepted=(landscape.accepted,))
    found, truth = searched(landscape, objectives), every(landscape, objectives)
    for name in ("accuracy", "nll"):
        values = [each.objectives[name] for each in truth]
        best = max(each.objectives[name] for each in found)
        assert best >= np.quantile(values, 0.95)


def test_bounds_and_fixed_weights_hold_where_no_start_does() -> None:
    landscape = Landscape(3)
    space = Space(3, ((0.2, 0.2), (-10, 10), (0, 1)))
    found = searched(landscape, Objectives(accepted=(landscape.accepted,)), space)
    assert len(found) > 3
    assert all(each.weights in space for each in found)


def test_sixteen_ingredients_are_searched_without_enumerating() -> None:
    landscape = Landscape(16, images=60, classes=5, seed=2)
    objectives = Objectives(NLL, accepted=(landscape.accepted,))
    found = searched(landscape, objectives, budget={"evaluations": 60}, batch=8)
    start = max(each.score or -99.0 for each in found[:17])
    assert 17 < len(found) <= 60
    assert (rank(found)[0].score or -99.0) > start + 0.2


class ConvexLandscape(Landscape):
    """Only convex soups have finite logits."""

    def outcome(self, request: EvaluationRequest) -> Outcome:
        found = super().outcome(request)
        return found if min(request.weights) >= 0 else Outcome("not_finite", found.sets, found.passes)


def test_soups_that_break_are_avoided() -> None:
    landscape = ConvexLandscape(3, images=50)
    objectives = Objectives(NLL, accepted=(landscape.accepted,))
    found = searched(landscape, objectives)
    assert rank(found)[0].score == pytest.approx(rank(every(landscape, objectives))[0].score, abs=0.005)


def test_a_budget_bounds_even_the_starts() -> None:
    landscape = Landscape(4)
    assert len(searched(landscape, Objectives(), budget=Budget(evaluations=3).model_dump())) == 3


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("is_read", [True, False], ids=["logits", "scores"])
def test_between_the_points_of_the_lattice_it_finds_a_likelihood_no_worse(seed: int, is_read: bool) -> None:
    landscape = Landscape(4, images=100, classes=5, seed=seed)
    objectives = Objectives(NLL, accepted=(landscape.accepted,) if is_read else ())
    on_it, off_it = (rank(searched(landscape, objectives, continuous=value))[0].score for value in (False, True))
    assert (off_it or -99.0) >= (on_it or -99.0) - 0.001


def test_continuous_soups_lie_apart_and_off_the_lattice() -> None:
    landscape = Landscape(3, images=100, seed=1)
    found = searched(landscape, Objectives(NLL), continuous=True, tolerance=0)
    soups = np.array([each.weights for each in found])
    distances = np.abs(soups[:, None] - soups[None]).max(axis=2) + np.eye(len(soups))
    assert len(soups) == 32
    assert distances.min() > 0.01
    assert np.abs(soups / 0.2 - np.round(soups / 0.2)).max() > 0.01


def test_a_continuous_search_takes_no_step() -> None:
    with pytest.raises(ValidationError, match="leave out step, or continuous"):
        Bayes(continuous=True, step=0.2)
    request = Bayes(continuous=True, lower=-1, batch=2)
    echo = request.model_dump_json()
    assert "step" not in json.loads(echo)
    assert Bayes.model_validate_json(echo) == request
    assert json.loads(Bayes(step=0.1).model_dump_json())["step"] == 0.1
    fields = Bayes.model_json_schema(mode="serialization")["properties"]
    assert {"step", "continuous"} <= fields.keys()


def test_a_continuous_search_that_has_no_room_says_so() -> None:
    with pytest.raises(SearchError, match="widen lower and upper"):
        KIND.bound(Bayes(continuous=True, lower=0, upper=0.2), Space(3))
