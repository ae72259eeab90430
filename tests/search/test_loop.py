from collections.abc import Sequence

import pytest

from search.evaluation import EvaluationRequest, Refinement
from search.loop import UNSTEERED, ContractError, Interrupted, OnFound, SearchEnd, Steering, run_search
from search.objectives import Objectives
from search.space import Space
from search.strategies.grid import GENERATION, Enumeration, Grid
from search.strategy import kind_of
from search.testing import Landscape, LandscapeExecutor, Trace


def test_the_papers_grid_is_proposed_in_order_and_evaluated_once() -> None:
    kind, space = kind_of(Grid()), Space(4)
    assert kind.bound(Grid(), space) == 480
    trace = Trace()
    strategy = kind.start(Grid(), space, Objectives(), 0)
    assert run_search(strategy, 480, LandscapeExecutor(Landscape(4), shuffle=1), trace, trace).soups == 480
    rows = [tuple(map(float, row)) for row in Grid().lattice(space).weights()]
    assert [soup.model for soup in trace.soups] == rows
    assert set(trace.found_now) == set(trace.soups)


def test_what_the_journal_knows_is_not_evaluated() -> None:
    landscape, soups = Landscape(2), tuple(EvaluationRequest((w, 1 - w)) for w in (0.0, 0.5, 1.0))
    trace = Trace({soups[1]: landscape.outcome(soups[1])})
    executor = LandscapeExecutor(landscape, until=2)
    assert run_search(Enumeration(soups), 3, executor, trace, trace) == SearchEnd(3, "strategy")
    with pytest.raises(Interrupted):
        executor.evaluate(soups[:1], lambda found: None)


def test_every_soup_is_evaluated_after_the_refinement_that_the_search_is_for() -> None:
    landscape, soups = Landscape(2), tuple(EvaluationRequest((w, 1 - w)) for w in (0.0, 0.5, 1.0))
    trace, refinement = Trace({soups[0]: landscape.outcome(soups[0])}), Refinement("adapted", temperature=True)
    assert (
        run_search(Enumeration(soups), 3, LandscapeExecutor(landscape), trace, trace, refinement=refinement).soups == 3
    )
    assert trace.soups == [EvaluationRequest(soup.model, refinement=refinement) for soup in soups]
    assert set(trace.found_now) == set(trace.soups)


def test_a_large_grid_comes_in_generations_of_bounded_size() -> None:
    soups = tuple(EvaluationRequest((w / 5000, 1 - w / 5000)) for w in range(5000))
    strategy = Enumeration(soups)
    sizes = []
    while (proposed := strategy.propose()) is not None:
        sizes.append(len(proposed))
    assert sizes == [GENERATION, 5000 - GENERATION]


def test_two_soups_of_one_name_are_one() -> None:
    soups = tuple(EvaluationRequest((w, 1 - w)) for w in (0.3, 0.1 + 0.2))
    trace = Trace()
    with pytest.raises(ContractError, match="proposed twice"):
        run_search(Enumeration(soups), 2, LandscapeExecutor(Landscape(2)), trace, trace)


class Forgetful(LandscapeExecutor):
    """Tells no outcome of the last request."""

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        super().evaluate(requests[:-1], on_found)


def test_a_soup_without_an_outcome_is_no_silent_shift_of_the_others() -> None:
    soups = tuple(EvaluationRequest((w, 1 - w)) for w in (0.0, 0.5))
    trace = Trace()
    with pytest.raises(ContractError, match="1 of 2 soups"):
        run_search(Enumeration(soups), 2, Forgetful(Landscape(2)), trace, trace)
