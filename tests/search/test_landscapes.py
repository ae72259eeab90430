"""Strategies on soups of real ingredients: what they recommend, and how far it is from the best of the grid."""

from functools import cache
from pathlib import Path

import numpy as np
import pytest

from search.evaluation import EvaluationRequest, Weights
from search.information import UnlabelledSet
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.ranking import Evaluation, rank
from search.space import Space
from search.strategies.curve import Curve
from search.strategies.grid import Grid
from search.strategy import StrategyRequest, kind_of, kinds
from search.testing import LandscapeExecutor, RecordedLandscape, Trace

FOLDER = Path(__file__).parent / "landscapes"
NAMES = sorted(path.stem for path in FOLDER.glob("*.npz"))
ACCURACY, NLL = Measure(), Measure(metric="nll")
INFORMATION = Measure(metric="mutual_information", sets=(), unlabelled=(UnlabelledSet(0),))
REGRET = {
    ("bayes", "nll"): 0.02,
    ("auto", "nll"): 0.02,
    ("random", "nll"): 0.6,
    ("bayes", "accuracy"): 0.04,
    ("auto", "accuracy"): 0.04,
    ("random", "accuracy"): 0.16,
}
"""Most that a recommendation may fall short of the grid's best, in nats or as a share of the 50 images."""
ENUMERATED = {"grid", "curve", "simplex"}
"""Strategies that try every soup of theirs, whose best is known."""
UNTRIED = {"gradient", "greedy", "race", "uniform"}
"""Strategies whose soups or gradients were not recorded, that leave nothing to find, or that have their own tests."""
INGREDIENTS = ("l1", "l2", "linf", "nominal")
REQUESTS: dict[str, StrategyRequest] = {
    name: kind.request.model_validate({}) for name, kind in kinds().items() if name not in {"greedy"}
} | {"curve": Curve(between=("linf", "nominal"))}


@cache
def searched(name: str, strategy: str, measure: Measure) -> tuple[list[Evaluation], RecordedLandscape]:
    landscape = RecordedLandscape.load(FOLDER / f"{name}.npz")
    objectives = Objectives((measure,), accepted=(landscape.accepted,))
    request, trace = REQUESTS[strategy], Trace()
    space = request.space(INGREDIENTS)
    kind = kind_of(request)
    run_search(
        kind.start(request, space, objectives, 0),
        kind.bound(request, space),
        LandscapeExecutor(landscape),
        trace,
        trace,
        keep_logits=objectives.reads_logits,
    )
    return [objectives.evaluation(soup.weights, trace.found_now[soup]) for soup in trace.soups], landscape


def test_every_strategy_is_tried() -> None:
    assert {strategy for strategy, _ in REGRET} | ENUMERATED | UNTRIED == set(kinds())
    assert len(NAMES) == 6


@pytest.mark.parametrize("measure", [ACCURACY, NLL], ids=lambda measure: measure.metric)
@pytest.mark.parametrize("strategy", sorted({strategy for strategy, _ in REGRET}))
@pytest.mark.parametrize("name", NAMES)
def test_the_recommendation_is_close_to_the_grids_best(name: str, strategy: str, measure: Measure) -> None:
    found, landscape = searched(name, strategy, measure)
    objectives = Objectives((measure,))
    soups: list[Weights] = [tuple(row) for row in Grid().lattice(Space(4)).weights().tolist()]
    best = max(objectives.every_value(landscape.outcome(EvaluationRequest(soup)))[0] for soup in soups)
    recommended = rank(found)[0].score
    assert recommended is not None
    assert best - recommended <= REGRET[strategy, measure.metric] + 1e-9


@pytest.mark.parametrize("name", NAMES)
def test_bayes_finds_the_soup_that_tells_most_without_labels(name: str) -> None:
    found, landscape = searched(name, "bayes", INFORMATION)
    best = UnlabelledSet(0).mutual_information(landscape.logits).max()
    random = rank(searched(name, "random", INFORMATION)[0])[0].score
    recommended = rank(found)[0].score
    assert recommended is not None
    assert random is not None
    assert best - recommended <= 0.02
    assert recommended >= random


@pytest.mark.parametrize("name", NAMES)
def test_bayes_comes_near_the_best_within_its_budget_and_on_the_vit_in_half_of_it(name: str) -> None:
    found, _ = searched(name, "bayes", NLL)
    best = rank(searched(name, "grid", NLL)[0])[0].score or 0.0
    near = [place for place, soup in enumerate(found, start=1) if (soup.score or -np.inf) >= best - 0.02]
    assert min(near) <= (16 if "vit" in name else 32)


@pytest.mark.parametrize("measure", [ACCURACY, NLL], ids=lambda measure: measure.metric)
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    ("strategy", "grid"),
    [("curve", Grid(fixed={"l1": 0, "l2": 0})), ("simplex", Grid(convex=True))],
    ids=["curve", "simplex"],
)
def test_a_curve_and_a_simplex_recommend_the_best_of_their_part_of_the_grid(
    strategy: str, grid: Grid, name: str, measure: Measure
) -> None:
    found, landscape = searched(name, strategy, measure)
    objectives = Objectives((measure,))
    part = {tuple(row) for row in grid.lattice(grid.space(INGREDIENTS)).weights().tolist()}
    every = [objectives.evaluation(soup, landscape.outcome(EvaluationRequest(soup))) for soup in sorted(part)]
    assert {soup.weights for soup in found} == part
    assert rank(found)[0] == rank(every)[0]


def test_searches_that_try_every_soup_recommend_what_they_always_have() -> None:
    lines = (FOLDER / "recommendations.csv").read_text().splitlines()
    assert lines[0] == "strategy,landscape,metric,l1,l2,linf,nominal"
    for line in lines[1:]:
        strategy, name, metric, *weights = line.split(",")
        found, _ = searched(name, strategy, NLL if metric == "nll" else ACCURACY)
        assert rank(found)[0].weights == pytest.approx([float(weight) for weight in weights], abs=1e-12)
    assert len(lines) == 1 + 2 * len(NAMES) * len(ENUMERATED)
