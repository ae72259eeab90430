"""Every strategy keeps the contract, and the checks find those that do not."""

from collections.abc import Sequence
from itertools import count
from typing import Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.budget import Budget
from search.evaluation import Outcome
from search.objectives import Objectives
from search.space import Space
from search.strategies.auto import Auto, AutoBudget
from search.strategies.bayes import Bayes
from search.strategies.curve import Curve
from search.strategies.gradient import Gradient
from search.strategies.grid import Grid
from search.strategies.race import Race
from search.strategies.random import Random
from search.strategies.simplex import Simplex
from search.strategy import Generation, Strategy, StrategyKind, StrategyRequest, generation, kind_of, kinds
from search.testing import Case, Check, Landscape, cases, strategy_checks

MORE: dict[str, list[StrategyRequest]] = {
    "grid": [
        Grid(lower=-1, upper=2, step=0.5),
        Grid(convex=True),
        Grid(prune=True),
        Grid(prune=True, lower=-1.1, upper=2, step=0.5),
    ],
    "race": [Race(step=0.1, convex=True), Race(p=0.4)],
    "auto": [Auto(convex=True, step=0.5), Auto(budget=AutoBudget(evaluations=9))],
    "bayes": [
        Bayes(lower=0, upper=0.6, step=0.02, budget=Budget(evaluations=12)),
        Bayes(convex=True, step=0.25, batch=3, tolerance=0),
        Bayes(step=0.05, budget=Budget(evaluations=11)),
        Bayes(continuous=True, budget=Budget(evaluations=14)),
        Bayes(continuous=True, convex=True, batch=3, tolerance=0, budget=Budget(evaluations=12)),
    ],
    "curve": [Curve(lower=0, upper=1, points=5), Curve(lower=-1, upper=1.7, points=11)],
    "simplex": [Simplex(step=0.5), Simplex(step=0.3)],
    "gradient": [
        Gradient(lower=-1, upper=2, descents=4, budget=Budget(evaluations=12)),
        Gradient(lower=0, upper=1, descents=1, tolerance=0),
        Gradient(budget=Budget(evaluations=2)),
    ],
    "random": [Random(step=0.01, budget=Budget(evaluations=50)), Random(convex=True, step=0.5)],
}
"""Requests besides the default one."""
REQUESTS = {name: [kind.request.model_validate({}), *MORE.get(name, [])] for name, kind in kinds().items()}


@pytest.mark.parametrize("check", strategy_checks(), ids=lambda check: check.__name__)
@pytest.mark.parametrize("name", REQUESTS)
@settings(max_examples=15, deadline=None)
@given(case=cases(), data=st.data())
def test_strategies_keep_the_contract(check: Check, name: str, case: Case, data: st.DataObject) -> None:
    request = data.draw(st.sampled_from(REQUESTS[name]))
    check(kind_of(request), request, case)


class BrokenRequest(StrategyRequest):
    strategy: Literal["broken"] = "broken"


class Broken(Strategy):
    """Proposes three soups, one each generation."""

    def __init__(self, space: Space) -> None:
        self.space = space
        self.generation = 0

    def soup(self, number: float) -> Generation:
        rest = (1 - number) / (self.space.size - 1)
        return generation([(number, *[rest] * (self.space.size - 1))])

    def propose(self) -> Generation | None:
        self.generation += 1
        return self.soup(self.generation / 8) if self.generation <= 3 else None

    def learn(self, outcomes: Sequence[Outcome]) -> None:
        pass


class ProposesTwice(Broken):
    def propose(self) -> Generation | None:
        return self.soup(0.5) if super().propose() else None


class NeverEnds(Broken):
    def propose(self) -> Generation | None:
        self.generation += 1
        return self.soup(1 / self.generation)


class BreaksItsBound(Broken):
    def propose(self) -> Generation | None:
        self.generation += 1
        return self.soup(self.generation / 8) if self.generation <= 4 else None


class LeavesThePlane(Broken):
    def propose(self) -> Generation | None:
        return generation([(1.5,) * self.space.size]) if super().propose() else None


class DependsOnOrder(Broken):
    """Counts its instances: what a search proposes depends on what ran before it."""

    started = count()

    def __init__(self, space: Space) -> None:
        super().__init__(space)
        self.own = next(self.started)

    def soup(self, number: float) -> Generation:
        return super().soup(number + self.own / 1024)


@pytest.mark.parametrize(
    ("broken", "finds"),
    [
        (ProposesTwice, "check_nothing_is_proposed_twice"),
        (NeverEnds, "check_it_ends_within_its_bound"),
        (BreaksItsBound, "check_it_ends_within_its_bound"),
        (LeavesThePlane, "check_soups_lie_in_the_space"),
        (DependsOnOrder, "check_equal_searches_propose_alike"),
    ],
)
def test_the_checks_find_what_is_broken(broken: type[Broken], finds: str) -> None:
    def start(request: StrategyRequest, space: Space, objectives: Objectives, seed: int) -> Strategy:
        return broken(space)

    kind = StrategyKind("broken", BrokenRequest, lambda *_: 3, start)
    case = Case(Landscape(3), Space(3), seed=0, shuffle=1, cut=0.5)
    (check,) = (check for check in strategy_checks() if check.__name__ == finds)
    with pytest.raises(AssertionError):
        check(kind, BrokenRequest(), case)
    sound = StrategyKind("sound", BrokenRequest, lambda *_: 3, lambda _, space, *__: Broken(space))
    check(sound, BrokenRequest(), case)
