from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.budget import Budget, Meter
from search.continuation import Continuation, most_soups
from search.evaluation import Outcome, Weights, weights_key
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.space import Space
from search.strategies.bayes import Bayes, starts
from search.strategies.greedy import Greedy
from search.strategies.grid import Grid
from search.strategies.random import Random
from search.strategy import Generation, Strategy, StrategyRequest, kind_of
from search.testing import Landscape, LandscapeExecutor, Trace

LANDSCAPE = Landscape(3, seed=4)
OBJECTIVES = Objectives((Measure(metric="nll"),), accepted=(LANDSCAPE.accepted,))


def continued(request: StrategyRequest, earlier: Sequence[Weights]) -> list[Weights]:
    space, trace, kind = Space(3), Trace(), kind_of(request)
    budget = request.limits(space)
    strategy = kind.start(request, space, OBJECTIVES, 0)
    bound = most_soups(kind.bound(request, space), len(earlier), budget)
    continuation = Continuation(strategy, earlier, budget) if earlier else strategy
    run_search(continuation, bound, LandscapeExecutor(LANDSCAPE), trace, trace)
    return [soup.weights for soup in trace.soups]


def keys(soups: Sequence[Weights]) -> list[str]:
    return [weights_key(soup) for soup in soups]


@settings(max_examples=10, deadline=None)
@given(generations=st.integers(0, 4), more=st.integers(1, 10), continuous=st.booleans())
def test_bayes_goes_on_as_if_it_had_had_the_greater_budget_from_the_beginning(
    generations: int, more: int, continuous: bool
) -> None:
    """From the end of any of its generations."""
    first = 4 + 4 * generations
    request = Bayes(tolerance=0, continuous=continuous, budget=Budget(evaluations=first))
    greater = request.model_copy(update={"budget": Budget(evaluations=first + more)})
    earlier = continued(request, [])
    assert len(earlier) == first
    assert continued(greater, earlier) == continued(greater, [])


def test_bayes_begins_with_what_another_search_left_out_and_knows_what_it_found() -> None:
    earlier = [(0.5, 0.5, 0.0), (1.0, 0.0, 0.0), (0.2, 0.8, 0.0)]
    soups = continued(Bayes(budget=Budget(evaluations=20)), earlier)
    assert soups[:3] == earlier
    assert keys(soups[3:6]) == keys([(0.0, 1.0, 0.0), (0.0, 0.0, 1.0), (1 / 3, 1 / 3, 1 / 3)])
    alone = continued(Bayes(budget=Budget(evaluations=20)), [])
    assert keys(soups[6:10]) != keys(alone[4:8])


@pytest.mark.parametrize(
    "request_", [Grid(lower=0, upper=1, step=0.25), Random(budget=Budget(evaluations=9)), Greedy()]
)
def test_the_others_try_what_they_would_have_tried_and_nothing_twice(request_: StrategyRequest) -> None:
    alone = continued(request_, [])
    elsewhere = (0.3, 0.3, 0.4)
    soups = continued(request_, [elsewhere, alone[1]])
    rest = [soup for soup in alone if soup != alone[1]]
    expected = [elsewhere, alone[1], *rest]
    budget = request_.limits(Space(3))
    assert soups == expected[: None if budget is None else budget.evaluations]


class Strict(Strategy):
    """Fails if it is to propose soups before it has learnt of the last."""

    def __init__(self, strategy: Strategy) -> None:
        self._strategy = strategy
        self._waits = False

    def propose(self) -> Generation | None:
        assert not self._waits
        soups = self._strategy.propose()
        self._waits = soups is not None
        return soups

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        self._waits = False
        self._strategy.learn(outcomes)


@pytest.mark.parametrize("evaluations", [3, 4, 5])
@pytest.mark.parametrize("request_", [Greedy(), Bayes(), Random()])
def test_a_generation_that_the_budget_cuts_is_the_last(request_: StrategyRequest, evaluations: int) -> None:
    budget, space, trace = Budget(evaluations=evaluations), Space(3), Trace()
    request = request_.model_copy(update={"budget": budget})
    strategy = Strict(kind_of(request).start(request, space, OBJECTIVES, 0))
    continuation = Continuation(strategy, [(0.3, 0.3, 0.4), (0.0, 0.4, 0.6)], budget)
    end = run_search(continuation, evaluations, LandscapeExecutor(LANDSCAPE), trace, trace, meter=Meter(budget))
    assert (end.soups, end.by) == (evaluations, "evaluations")


def test_the_first_soups_of_a_continued_search_settle_nothing() -> None:
    """They are those with which every search begins, and worse than what an earlier one found."""
    landscape, space = Landscape(3, images=200, seed=4), Space(3)
    objectives = Objectives((Measure(metric="nll"),), accepted=(landscape.accepted,))
    budget, trace = Budget(evaluations=60, interval=0.3), Trace()
    earlier = [(0.4, 0.3, 0.3), (0.3, 0.4, 0.3)]
    strategy = kind_of(Bayes()).start(Bayes(budget=budget), space, objectives, 0)
    meter = Meter(budget, objectives, continues=True)
    end = run_search(
        Continuation(strategy, earlier, budget), 60, LandscapeExecutor(landscape), trace, trace, meter=meter
    )
    assert (end.soups, end.by) == (len(earlier) + len(starts(3)) + Bayes().batch, "interval")


def test_earlier_soups_count_in_the_budget() -> None:
    earlier = continued(Random(budget=Budget(evaluations=6)), [])
    request = Random(budget=Budget(evaluations=8), step=0.1)
    soups = continued(request, earlier)
    assert (len(soups), soups[:6]) == (8, earlier)
    assert most_soups(8, 6, request.budget) == 8
    assert most_soups(480, 6, None) == 486
