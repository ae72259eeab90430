import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.optimize import minimize

from search.budget import Budget
from search.continuation import Continuation
from search.evaluation import EvaluationRequest, Outcome, Weights
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.ranking import rank
from search.space import SearchError, Space
from search.strategies.bayes import starts
from search.strategies.gradient import KIND, Gradient
from search.testing import Landscape, LandscapeExecutor, Trace

NLL = Objectives((Measure(metric="nll"),))


def searched(request: Gradient, landscape: Landscape, space: Space, objectives: Objectives = NLL) -> Trace:
    trace = Trace()
    strategy = KIND.start(request, space, objectives, 0)
    run_search(strategy, KIND.bound(request, space), LandscapeExecutor(landscape), trace, trace)
    return trace


def nll(landscape: Landscape, weights: Weights) -> float:
    return landscape.outcome(EvaluationRequest(weights)).sets[0].nll


def test_the_first_generation_is_what_every_job_starts_from() -> None:
    soups = KIND.start(Gradient(), Space(3), NLL, 0).propose()
    assert soups == tuple(EvaluationRequest(soup, gradient=True) for soup in starts(3))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**16), size=st.integers(2, 5))
def test_it_finds_the_best_soup_that_another_optimiser_finds(seed: int, size: int) -> None:
    landscape = Landscape(size, images=60, seed=seed)
    trace = searched(Gradient(budget=Budget(evaluations=80), descents=size + 1), landscape, Space(size))
    found = min(nll(landscape, soup.weights) for soup in trace.soups)
    ends = [
        minimize(
            lambda weights: nll(landscape, tuple(weights.tolist())),
            start,
            jac=lambda weights: (
                -landscape.outcome(EvaluationRequest(tuple(weights.tolist()), gradient=True)).sets[0].gradient[0] / 60
            ),
            bounds=[(-0.4, 1.4)] * size,
            constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
            method="SLSQP",
        ).fun
        for start in starts(size)
    ]
    assert found <= min(ends) + 1e-3


def test_descents_go_side_by_side_and_end_where_they_meet() -> None:
    landscape = Landscape(4, images=60, seed=1)
    for most in (1, 2, 5):
        strategy = KIND.start(Gradient(descents=most, budget=Budget(evaluations=100)), Space(4), NLL, 0)
        counts = []
        while (soups := strategy.propose()) is not None:
            counts.append(len(soups))
            strategy.learn([landscape.outcome(soup) for soup in soups])
        assert counts[:2] == [5, most]
        assert max(counts[1:]) == most
        assert sum(counts) < 40


def test_bounds_and_fixed_weights_hold_and_starts_move_within_them() -> None:
    space = Space(3, ((0.2, 0.2), (0.0, 0.3), (-10.0, 10.0)))
    trace = searched(Gradient(), Landscape(3, images=60), space)
    assert len(trace.soups) > 2
    for soup in trace.soups:
        assert soup.weights in space
        assert soup.weights[0] == 0.2
    alone = Space(2, ((0.2, 0.2), (-10.0, 10.0)))
    assert [soup.weights for soup in searched(Gradient(), Landscape(2), alone).soups] == [(0.2, 0.8)]


@pytest.mark.parametrize(
    ("request_", "bounds"),
    [
        (Gradient(upper=0.3), None),
        (Gradient(lower=0.5), None),
        (Gradient(), ((2.0, 3.0), (-3.0, 10.0), (-3.0, 10.0))),
    ],
)
def test_limits_that_hold_no_soup_are_refused(
    request_: Gradient, bounds: tuple[tuple[float, float], ...] | None
) -> None:
    with pytest.raises(SearchError, match="widen"):
        KIND.bound(request_, Space(3, bounds))


def test_limits_in_the_wrong_order_are_refused() -> None:
    with pytest.raises(ValueError, match="less than upper"):
        Gradient(lower=0.8, upper=0.4)


def test_by_accuracy_it_follows_the_likelihood_all_the_same() -> None:
    landscape = Landscape(4, images=60, seed=5)
    by_accuracy = searched(Gradient(), landscape, Space(4), Objectives((Measure(),)))
    by_nll = searched(Gradient(), landscape, Space(4))
    assert by_accuracy.soups == by_nll.soups


def test_sets_count_equally_whatever_their_sizes() -> None:
    """Two sets, of which the second is the first one twice."""
    small, size = Landscape(3, images=40, seed=2), 3

    def outcome(request: EvaluationRequest) -> Outcome:
        (once,) = small.outcome(request).sets
        rows = np.tile(np.arange(40), 2)
        assert once.gradients is not None
        twice = once.of_images(rows)
        twice = type(twice)(**(vars(twice) | {"gradients": np.concatenate([once.gradients] * 2)}))
        return Outcome("complete", (once, twice))

    proposed: list[list[Weights]] = []
    for read in (small.outcome, outcome):
        strategy = KIND.start(Gradient(), Space(size), NLL, 0)
        proposed.append([])
        while (soups := strategy.propose()) is not None:
            proposed[-1] += [soup.weights for soup in soups]
            strategy.learn([read(soup) for soup in soups])
    np.testing.assert_allclose(np.array(proposed[1]), np.array(proposed[0]), atol=1e-6)


def test_it_goes_on_from_the_soups_of_an_earlier_search() -> None:
    landscape, space = Landscape(4, images=60, seed=3), Space(4)
    early = searched(Gradient(budget=Budget(evaluations=8)), landscape, space)
    request, trace = Gradient(), Trace()
    strategy = Continuation(KIND.start(request, space, NLL, 0), [soup.weights for soup in early.soups], request.budget)
    run_search(strategy, request.budget.evaluations, LandscapeExecutor(landscape), trace, trace)
    assert trace.soups[:8] == early.soups
    assert len(trace.soups) > 8
    whole = searched(request, landscape, space)
    ends = [min(nll(landscape, soup.weights) for soup in each.soups) for each in (trace, whole)]
    assert ends[0] == pytest.approx(ends[1], abs=1e-3)


def test_it_admits_what_lies_within_its_limits() -> None:
    assert Gradient().admits((1.4, -0.4), Space(2))
    assert not Gradient().admits((1.5, -0.5), Space(2))
    assert not Gradient().admits((1.0, 0.0), Space(2, ((0.0, 0.5), (0.0, 1.0))))


def test_it_ends_where_nothing_can_be_followed() -> None:
    trace = searched(Gradient(), Landscape(3, broken=1.0), Space(3))
    assert [soup.weights for soup in trace.soups] == starts(3)


def test_its_soups_are_far_better_than_what_it_starts_from() -> None:
    landscape = Landscape(4, images=60, seed=3)
    trace = searched(Gradient(), landscape, Space(4))
    best = rank(NLL.evaluation(soup.weights, trace.found_now[soup]) for soup in trace.soups)[0]
    assert nll(landscape, best.weights) < min(nll(landscape, start) for start in starts(4)) - 0.04
