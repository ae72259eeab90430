"""Pruned grids find exactly what full ones do, and races end with a soup as good."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.evaluation import EvaluationRequest, Outcome, Passes, SetOutcome, Visit, weights_key
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.pareto import pareto_front
from search.pruning import ExactBar, Forecast, RaceBar, steps_of
from search.ranking import Evaluation, rank
from search.space import Space
from search.statistics import OverSets, OverThreats
from search.strategies.grid import Grid
from search.strategies.race import Race
from search.strategy import StrategyRequest, kind_of
from search.testing import HasOutcomes, LandscapeExecutor, RecordedLandscape, Trace, visited

FOLDER = Path(__file__).parent / "landscapes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))


@dataclass(frozen=True)
class Dice:
    """Soups whose outcomes are thrown: few images and few values, and so many ties."""

    sizes: tuple[int, ...]
    threats: int
    seed: int
    broken: float = 0.05

    def outcome(self, request: EvaluationRequest) -> Outcome:
        rng = np.random.default_rng([self.seed, *weights_key(request.weights).encode()])
        skill = rng.choice([0.2, 0.5, 0.8])
        sets = tuple(self._set(rng, size, skill) for size in self.sizes)
        if rng.random() < self.broken:
            return Outcome("not_finite", tuple(replace(each, robust=None) for each in sets), Passes(sum(self.sizes)))
        return Outcome("complete", sets, Passes(sum(self.sizes)))

    def _set(self, rng: np.random.Generator, size: int, skill: float) -> SetOutcome:
        correct = rng.random(size) < skill
        robust = correct & (rng.random((self.threats, size)) < 0.7) if self.threats else None
        likelihood = np.where(correct, rng.choice([-0.1, 0.0, -0.3], size), rng.choice([-1.0, -2.0], size))
        return SetOutcome(size, correct.astype(np.int32), correct, likelihood.astype(np.float32), robust)


@st.composite
def measures(draw: st.DrawFn, sets: int, threats: int) -> Measure:
    chosen = draw(st.sets(st.integers(0, threats - 1)).map(sorted)) if threats else []
    among = draw(st.sampled_from([None, *((index,) for index in range(sets))]))
    over_threats: OverThreats = draw(st.sampled_from(["union", "mean", "worst"]))
    over_sets: OverSets = draw(st.sampled_from(["mean", "worst"]))
    is_nll = not chosen and draw(st.booleans())
    return Measure(tuple(chosen), over_threats, over_sets, among, "nll" if is_nll else "accuracy")


@st.composite
def problems(draw: st.DrawFn) -> tuple[Dice, Objectives]:
    sizes = tuple(draw(st.lists(st.integers(1, 30), min_size=1, max_size=3)))
    threats = draw(st.integers(0, 2))
    measure = measures(len(sizes), threats)
    several = draw(st.booleans())
    found = tuple(draw(st.lists(measure, min_size=2, max_size=2) if several else st.tuples(measure)))
    constraints = draw(st.lists(st.tuples(measure, st.sampled_from([-0.5, 0.3, 0.6])), max_size=1))
    objectives = Objectives(
        found, ("a", "b") if several else (), tuple(constraints), threats=threats, top_k=draw(st.integers(1, 6))
    )
    return Dice(sizes, threats, draw(st.integers(0, 999))), objectives


def search(
    request: StrategyRequest,
    landscape: HasOutcomes,
    objectives: Objectives,
    size: int,
    *,
    shuffle: int | None = None,
    heard: float = 1.0,
) -> list[tuple[EvaluationRequest, Outcome]]:
    kind, space, trace = kind_of(request), Space(size), Trace()
    strategy = kind.start(request, space, objectives, 0)
    run_search(strategy, kind.bound(request, space), LandscapeExecutor(landscape, shuffle, heard=heard), trace, trace)
    return list(trace.found_now.items())


def evaluations(objectives: Objectives, found: Sequence[tuple[EvaluationRequest, Outcome]]) -> list[Evaluation]:
    return [objectives.evaluation(soup.weights, outcome) for soup, outcome in found]


@settings(max_examples=150, deadline=None)
@given(problem=problems(), shuffle=st.integers(0, 99), heard=st.sampled_from([0.0, 0.3, 1.0]))
def test_a_pruned_grid_finds_exactly_what_the_full_one_does(
    problem: tuple[Dice, Objectives], shuffle: int, heard: float
) -> None:
    landscape, objectives = problem
    whole = search(Grid(step=0.2, lower=-0.2, upper=1.2), landscape, objectives, 3)
    pruned = search(
        Grid(step=0.2, lower=-0.2, upper=1.2, prune=True), landscape, objectives, 3, shuffle=shuffle, heard=heard
    )
    assert {soup.weights for soup, _ in pruned} == {soup.weights for soup, _ in whole}
    ours, theirs = evaluations(objectives, pruned), evaluations(objectives, whole)
    assert rank(ours)[: objectives.top_k] == rank(theirs)[: objectives.top_k]
    if len(objectives.measures) > 1:
        assert pareto_front(ours) == pareto_front(theirs)


def test_soups_come_fewer_at_a_time_where_each_sees_many_images(monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the orders in which they see them would not fit into memory; what is found is the same."""
    landscape, objectives, request = Dice((20, 10), 0, 3), Objectives(top_k=3), Grid(prune=True)
    monkeypatch.setattr("search.strategies.grid.VISITED_IMAGES", 200)
    strategy = kind_of(request).start(request, Space(3), objectives, 0)
    sizes = []
    while soups := strategy.propose():
        sizes.append((soups[0].visit is not None, len(soups)))
        strategy.learn([landscape.outcome(soup) for soup in soups])
    assert {size for is_visit, size in sizes[:-1] if is_visit} == {200 // 30}
    found = search(request, landscape, objectives, 3)
    monkeypatch.undo()
    at_once = search(request, landscape, objectives, 3)
    assert rank(evaluations(objectives, found))[:3] == rank(evaluations(objectives, at_once))[:3]


@settings(max_examples=100, deadline=None)
@given(problem=problems(), weight=st.integers(0, 50))
def test_bounds_only_fall_and_end_at_the_value(problem: tuple[Dice, Objectives], weight: int) -> None:
    landscape, objectives = problem
    outcome = replace(landscape, broken=0.0).outcome(EvaluationRequest((weight / 7, 1 - weight / 7)))
    for measure in objectives.every_measure:
        bounds = []
        for share in np.linspace(0, 1, 7):
            seen = [int(share * each.total) for each in outcome.sets]
            prefixes = [
                replace(each.of_images(np.arange(count)), total=each.total)
                for each, count in zip(outcome.sets, seen, strict=True)
            ]
            bounds.append(measure.bound(prefixes))
        assert bounds == sorted(bounds, reverse=True)
        assert bounds[-1] == measure.value(outcome.sets)


def test_images_that_no_attack_has_reached_count_as_robust_where_they_are_right() -> None:
    outcome = SetOutcome(4, np.zeros(3, np.int32), np.array([True, True, False]), np.zeros(3, np.float32))
    assert Measure(threats=(0,)).bound([outcome]) == 0.75
    reached = replace(outcome, robust=np.array([[False, True, False]]))
    assert Measure(threats=(0,)).bound([reached]) == 0.5


@given(sizes=st.lists(st.integers(1, 700), min_size=1, max_size=4), first=st.floats(0, 1))
def test_the_steps_of_a_visit_hold_every_image_once(sizes: list[int], first: float) -> None:
    order = [np.random.default_rng(size).permutation(size) for size in sizes]
    steps = steps_of(order, first)
    for rows, expected in zip(Visit(steps).rows(len(sizes)), order, strict=True):
        np.testing.assert_array_equal(rows, expected)
    assert max(len(rows) for _, rows in steps) <= 256
    assert all(rows for _, rows in steps)


def test_sets_take_turns_on_a_visit() -> None:
    steps = steps_of([np.arange(64), np.arange(32)])
    assert [index for index, _ in steps[:6]] == [0, 1, 0, 0, 1, 0]


def test_sets_that_nothing_is_measured_on_come_last_and_need_no_labels() -> None:
    outcome = Dice((30, 20), 0, 1, broken=0.0).outcome(EvaluationRequest((1.0, 0.0)))
    bare = replace(outcome.sets[0], correct=None, log_probability=None)
    objectives = Objectives((Measure(sets=(1,)),))
    found = Forecast(objectives, np.eye(2), [replace(outcome, sets=(bare, outcome.sets[1]))] * 2)
    steps = steps_of(found.hardest_first((0.5, 0.5)), idle=found.idle)
    assert [index for index, _ in steps] == [1, 1, 1, 0, 0, 0, 0]


def test_no_soup_is_dropped_before_as_many_are_known_as_are_reported() -> None:
    nothing = SetOutcome(10, np.zeros(10, np.int32), np.zeros(10, bool), np.zeros(10, np.float32))
    assert not ExactBar((Measure(),), (), None).drops([nothing])
    assert ExactBar((Measure(),), (), (0.0, 0.1)).drops([nothing])
    assert not ExactBar((Measure(),), (), (0.0, 0.0)).drops([nothing])


@cache
def recorded(name: str) -> RecordedLandscape:
    return RecordedLandscape.load(FOLDER / f"{name}.npz")


def passes(found: Sequence[tuple[EvaluationRequest, Outcome]]) -> int:
    return sum(outcome.passes.forward for _, outcome in found)


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
@pytest.mark.parametrize("name", NAMES)
def test_pruning_real_soups_costs_little_more_than_it_must(name: str, metric: str) -> None:
    landscape = recorded(name)
    measure = Measure(metric="nll" if metric == "nll" else "accuracy")
    objectives = Objectives((measure,), accepted=(landscape.accepted,), top_k=5)
    whole = search(Grid(), landscape, objectives, 4)
    pruned = search(Grid(prune=True), landscape, objectives, 4)
    best = rank(evaluations(objectives, whole))[:5]
    assert rank(evaluations(objectives, pruned))[:5] == best
    share = passes(pruned) / passes(whole)
    images = len(landscape.labels)
    floor = (images - round((best[-1].score or 0.0) * images) + 1) / images
    if metric == "accuracy":
        assert floor <= share < floor + 0.25
    else:
        assert share < 0.8


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
@pytest.mark.parametrize("name", NAMES)
def test_a_race_keeps_a_soup_as_good_for_less(name: str, metric: str) -> None:
    landscape = recorded(name)
    measure = Measure(metric="nll" if metric == "nll" else "accuracy")
    objectives = Objectives((measure,), accepted=(landscape.accepted,), top_k=5)
    whole = search(Grid(), landscape, objectives, 4)
    race = search(Race(), landscape, objectives, 4)
    limit = passes(whole if metric == "accuracy" else search(Grid(prune=True), landscape, objectives, 4))
    assert passes(race) < limit
    best, kept = (rank(evaluations(objectives, found))[0].score or 0.0 for found in (whole, race))
    assert kept >= best - 0.02


def test_a_race_is_the_same_however_it_is_run() -> None:
    objectives = Objectives(accepted=(recorded(NAMES[0]).accepted,))
    runs = [search(Race(), recorded(NAMES[0]), objectives, 4, shuffle=seed, heard=seed / 2) for seed in range(3)]
    statuses = [{soup.weights: outcome.status for soup, outcome in found} for found in runs]
    assert statuses[0] == statuses[1] == statuses[2]


def test_a_race_drops_a_soup_once_the_test_finds_it_worse() -> None:
    leader = (np.ones((1, 20), dtype=bool),)

    def soup(wrong: int) -> list[SetOutcome]:
        correct = np.arange(10) >= wrong
        return [SetOutcome(20, correct.astype(np.int32), correct, np.zeros(10, np.float32))]

    assert [RaceBar(Measure(), leader, 0.05).drops(soup(wrong)) for wrong in (0, 4, 5, 10)] == [
        False,
        False,
        True,
        True,
    ]
    assert not RaceBar(Measure(), leader, 0.01).drops(soup(5))


def test_a_forecast_needs_no_logits() -> None:
    landscape = Dice((9,), 1, 3, broken=0.0)
    outcomes = [landscape.outcome(EvaluationRequest(each)) for each in ((1.0, 0.0), (0.0, 1.0))]
    found = Forecast(Objectives((Measure(threats=(0,)),), threats=1), np.eye(2), outcomes)
    robust = outcomes[0].sets[0].robust
    assert robust is not None
    hardest = found.hardest_first((1.0, 0.0))[0]
    assert robust[0][hardest].tolist() == sorted(robust[0])


def test_a_visit_ends_where_the_bar_drops_the_soup() -> None:
    outcome = Dice((30,), 0, 1, broken=0.0).outcome(EvaluationRequest((1.0,)))
    visit = Visit(steps_of([np.arange(30)]))
    dropped = visited(outcome, visit, ExactBar((Measure(),), (), (0.0, 1.0)))
    assert dropped.status == "pruned"
    assert 8 <= dropped.passes.forward < 30
    assert visited(outcome, visit, ExactBar((Measure(),), (), (0.0, 0.0))) is outcome
