from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from search.budget import Budget, Meter
from search.evaluation import EvaluationRequest, Outcome, Passes
from search.loop import (
    UNSTEERED,
    Executor,
    Found,
    Interrupted,
    OnFound,
    SearchEnd,
    Steering,
    run_search,
)
from search.objectives import Measure, Objectives
from search.ranking import rank
from search.space import Space
from search.strategies.auto import Auto, AutoBudget
from search.strategies.bayes import Bayes
from search.strategies.curve import Curve
from search.strategies.greedy import Greedy
from search.strategies.grid import Grid
from search.strategies.random import Random
from search.strategies.simplex import Simplex
from search.strategies.uniform import Uniform
from search.strategy import StrategyRequest, generation, kind_of
from search.testing import Landscape, LandscapeExecutor, RecordedLandscape, Trace

LANDSCAPES = Path(__file__).parent / "landscapes"
DEAREST = 50


@dataclass
class Costly(LandscapeExecutor):
    """Each soup takes ``seconds`` of a clock of its own, and up to ``DEAREST`` forward passes."""

    landscape: Landscape
    seconds: float = 0.0
    shuffle: int = 0
    until: int | None = None
    now: float = field(default=0.0, init=False)

    def __post_init__(self) -> None:
        super().__init__(self.landscape, self.shuffle, self.until)

    def clock(self) -> float:
        """The time of its clock."""
        return self.now

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        def told(found: Found) -> None:
            self.now += self.seconds
            on_found([(place, costing(requests[place], outcome)) for place, outcome in found])

        super().evaluate(requests, told, steering)


def costing(soup: EvaluationRequest, outcome: Outcome) -> Outcome:
    """The outcome with a cost that depends on the soup's weights alone."""
    return replace(outcome, passes=Passes(1 + round(abs(soup.weights[0]) * 1e6) % DEAREST))


def searched(
    request: StrategyRequest,
    executor: Executor,
    *,
    size: int = 3,
    objectives: Objectives | None = None,
    known: Mapping[EvaluationRequest, Outcome] | None = None,
    clock: Callable[[], float] = lambda: 0.0,
    spent: float = 0.0,
) -> tuple[SearchEnd, Trace]:
    space, trace, kind = Space(size), Trace(known), kind_of(request)
    objectives = objectives or Objectives()
    strategy = kind.start(request, space, objectives, 0)
    meter = Meter(request.limits(space), objectives, passes_a_soup=DEAREST, spent=spent, clock=clock)
    end = run_search(strategy, kind.bound(request, space), executor, trace, trace, meter=meter)
    return end, trace


def test_a_search_says_whether_its_strategy_or_the_number_of_evaluations_ended_it() -> None:
    few = Bayes(budget=Budget(evaluations=7))
    assert searched(few, Costly(Landscape(3)))[0] == SearchEnd(7, "evaluations")
    assert searched(Random(lower=0, upper=1, step=0.5), Costly(Landscape(3)))[0] == SearchEnd(6, "strategy")
    assert searched(Greedy(), Costly(Landscape(3)))[0].by == "strategy"
    assert searched(Greedy(budget=Budget(evaluations=2)), Costly(Landscape(3)))[0] == SearchEnd(2, "evaluations")
    assert searched(Greedy(budget=Budget(evaluations=4)), Costly(Landscape(3)))[0] == SearchEnd(4, "evaluations")
    assert searched(Grid(lower=0, upper=1, step=0.5), Costly(Landscape(3)))[0] == SearchEnd(6, "strategy")


@settings(max_examples=40, deadline=None)
@given(
    limit=st.integers(DEAREST, 1500),
    shuffle=st.integers(0, 1000),
    cut=st.floats(0, 1),
    request=st.sampled_from([Bayes(batch=3), Random(step=0.1), Greedy(), Auto(lower=0, upper=1, step=0.5)]),
)
def test_forward_passes_are_never_exceeded_and_end_a_search_at_the_same_soup(
    limit: int, shuffle: int, cut: float, request: StrategyRequest
) -> None:
    """Whatever is known already, and in whatever order outcomes come."""
    request = request.model_copy(update={"budget": Budget(evaluations=30, forward_passes=limit)})
    landscape = Landscape(3, seed=5)
    whole, trace = searched(request, Costly(landscape, shuffle=0))
    spent = sum(outcome.passes.forward for outcome in trace.found_now.values())
    assert spent <= limit
    assert (whole.by == "forward_passes") == (limit - spent < DEAREST and whole.soups < len(trace.soups))
    assert whole.soups == len(trace.found_now)
    known = {soup: trace.found_now[soup] for soup in list(trace.found_now)[: round(cut * whole.soups)]}
    again, other = searched(request, Costly(landscape, shuffle=shuffle), known=known)
    assert (again, other.found_now.keys()) == (whole, trace.found_now.keys())


def test_seconds_end_a_search_within_a_generation_and_keep_what_was_found() -> None:
    executor = Costly(Landscape(3), seconds=1.0)
    request = Random(budget=Budget(evaluations=30, seconds=10.5))
    end, trace = searched(request, executor, clock=executor.clock)
    assert end == SearchEnd(11, "seconds")
    assert len(trace.found_now) == 11
    assert searched(request, Costly(Landscape(3)), clock=lambda: 0.0)[0] == SearchEnd(30, "evaluations")


def test_seconds_of_earlier_attempts_count() -> None:
    executor = Costly(Landscape(3), seconds=1.0)
    request = Random(budget=Budget(evaluations=30, seconds=10.5))
    first = searched(request, Costly(Landscape(3)), clock=lambda: 0.0)[1].found_now
    known = dict(list(first.items())[:4])
    end, _ = searched(request, executor, clock=executor.clock, known=known, spent=8.0)
    assert end == SearchEnd(4 + 3, "seconds")


def test_seconds_never_end_a_search_before_one_soup_has_a_score() -> None:
    executor = Costly(Landscape(3, broken=0.8, seed=1), seconds=1.0, shuffle=3)
    end, trace = searched(Random(step=0.1, budget=Budget(evaluations=30, seconds=0.1)), executor, clock=executor.clock)
    statuses = [outcome.status for outcome in trace.found_now.values()]
    assert end == SearchEnd(len(statuses), "seconds")
    assert statuses == ["not_finite"] * (len(statuses) - 1) + ["complete"]
    assert len(statuses) > 1


def test_an_interruption_is_no_end_of_a_budget() -> None:
    executor = Costly(Landscape(3), seconds=1.0, until=4)
    with pytest.raises(Interrupted):
        searched(Random(budget=Budget(seconds=100)), executor, clock=executor.clock)


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
@pytest.mark.parametrize("path", sorted(LANDSCAPES.glob("*.npz")), ids=lambda path: path.stem)
def test_an_interval_ends_a_search_after_the_first_generation_that_gains_nothing(
    path: Path, metric: Literal["accuracy", "nll"]
) -> None:
    landscape = RecordedLandscape.load(path)
    objectives = Objectives((Measure(metric=metric),), accepted=(landscape.accepted,))
    target = 0.05
    request = Bayes(tolerance=0, budget=Budget(evaluations=60, interval=target))
    end, trace = searched(request, LandscapeExecutor(landscape), size=4, objectives=objectives)
    found = [(soup, trace.found_now[soup]) for soup in trace.soups]
    ends = [*range(5, len(found) + 1, request.batch)]
    settled = []
    for first, last in pairwise(ends):
        best = rank([objectives.evaluation(soup.weights, outcome) for soup, outcome in found[:first]])[0]
        before = next(outcome for soup, outcome in found if soup.weights == best.weights)
        tests = [objectives.compare(outcome, before) for _, outcome in found[first:last]]
        settled.append(all(test is not None and test.interval[1] < target for test in tests))
    assert settled == [False] * (len(settled) - 1) + [end.by == "interval"]
    assert end.by in {"interval", "evaluations"}


def test_soups_that_violate_a_constraint_settle_nothing() -> None:
    landscape = Landscape(3, seed=2)
    never_met = Objectives(constraints=((Measure(), 1.1),), accepted=(landscape.accepted,))
    request = Bayes(budget=Budget(evaluations=20, interval=1.0))
    assert searched(request, Costly(landscape), objectives=never_met)[0].by == "evaluations"
    met = Objectives(accepted=(landscape.accepted,))
    assert searched(request, Costly(landscape), objectives=met)[0] == SearchEnd(4 + request.batch, "interval")


@pytest.mark.parametrize("kind", [Grid, Curve, Simplex, Uniform])
def test_a_search_that_is_only_useful_whole_takes_no_budget(kind: type[StrategyRequest]) -> None:
    name = kind.model_fields["strategy"].default
    with pytest.raises(ValidationError, match=f"{name} takes no budget, because it tries all of its soups"):
        kind.model_validate({"budget": {"seconds": 3}})
    assert kind.model_validate({}).limits(Space(3)) is None


def test_auto_does_not_enumerate_what_a_budget_may_cut() -> None:
    few = Auto(lower=0, upper=1, step=0.5)
    counted, timed = (
        few.model_copy(update={"budget": budget}) for budget in (AutoBudget(evaluations=9), AutoBudget(seconds=9))
    )
    assert few.chosen(Space(3))[0].name == "grid"
    assert counted.chosen(Space(3))[0].name == "grid"
    assert counted.limits(Space(3)) is None
    assert timed.chosen(Space(3))[0].name == "bayes"
    assert timed.limits(Space(3)) == Budget(seconds=9)


def test_other_limits_leave_auto_the_evaluations_that_it_takes_by_itself() -> None:
    open_ended = Auto().limits(Space(16))
    assert open_ended is not None
    assert open_ended.evaluations == 96
    for limits in ({"seconds": 36000.0}, {"interval": 0.01}, {"forward_passes": 10**6}):
        assert Auto(budget=AutoBudget(**limits)).limits(Space(16)) == open_ended.model_copy(update=limits)
    assert Auto(budget=AutoBudget(evaluations=40, seconds=9)).limits(Space(16)) == Budget(evaluations=40, seconds=9)


def test_a_random_search_is_never_settled() -> None:
    with pytest.raises(ValidationError, match="leave interval out"):
        Random(budget=Budget(interval=0.1))


def test_a_meter_without_a_budget_has_no_limits() -> None:
    meter = Meter()
    soups = generation([(0.0, 1.0), (1.0, 0.0)])
    outcomes = [Landscape(2).outcome(soup) for soup in soups]
    meter.see(outcomes)
    assert meter.affordable() is None
    assert not meter.is_late()
    assert not meter.is_settled(soups, outcomes)
    assert meter.end_of(10**6) == "strategy"
