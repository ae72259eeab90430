"""What pruned grids and races cost on recorded landscapes, beside the floor of every exact rule.

    python -m benchmarks.search.record examples/pantries/fashion-vit --out landscapes
    python -m benchmarks.search.pruning landscapes [--images 100] [--draws 3] [--top-k 5]

For each landscape and draw, ``--images`` of its images choose the best soups. Printed for each pantry and metric:
passes as a share of the grid's (median over landscapes and draws, least and greatest), the floor, and how often a soup
as good as the grid's best was kept. Fails if a pruned grid names other soups than the full one.
"""

import argparse
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.evaluation import Outcome
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.ranking import Evaluation, rank
from search.space import Space
from search.strategies.grid import Grid
from search.strategies.race import Race
from search.strategy import StrategyRequest, kind_of
from search.testing import LandscapeExecutor, RecordedLandscape, Trace

RULES: dict[str, StrategyRequest] = {
    "pruned": Grid(prune=True),
    "race, p 0.05": Race(),
    "race, p 0.01": Race(p=0.01),
}


@dataclass(frozen=True)
class Cost:
    """Passes as a ``share`` of the grid's, and whether a soup as good as its best was kept."""

    share: float
    kept: bool = True


def main(arguments: Sequence[str] | None = None) -> None:
    """Search, and print a table."""
    options = _parser().parse_args(arguments)
    costs: dict[tuple[str, str, str], list[Cost]] = defaultdict(list)
    for path in sorted(options.landscapes.glob("*/*.npz")):
        whole = RecordedLandscape.load(path)
        for draw in range(options.draws):
            chosen = np.random.default_rng([draw, 5]).permutation(len(whole.labels))[: options.images]
            for measure in (Measure(), Measure(metric="nll")):
                for rule, cost in _costs(whole.of_images(chosen), measure, options.top_k).items():
                    costs[path.parent.name, measure.metric, rule].append(cost)
    print("| pantry | metric | rule | passes (median) | least | greatest | kept a best soup |")
    print("|---|---|---|---|---|---|---|")
    for key, found in costs.items():
        shares = [cost.share for cost in found]
        numbers = f"{np.median(shares):.2f} | {min(shares):.2f} | {max(shares):.2f}"
        print(f"| {' | '.join(key)} | {numbers} | {sum(cost.kept for cost in found)} of {len(found)} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Measure pruned grids and races on recorded landscapes.")
    parser.add_argument("landscapes", type=Path, help="folder that benchmarks.search.record wrote")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--top-k", type=int, default=5)
    return parser


def _costs(landscape: RecordedLandscape, measure: Measure, top_k: int) -> dict[str, Cost]:
    objectives = Objectives((measure,), accepted=(landscape.accepted,), top_k=top_k)
    soups, passes = _searched(Grid(), landscape, objectives)
    costs = {}
    if measure.metric == "accuracy":
        images = len(landscape.labels)
        errors = images - round((soups[top_k - 1].score or 0.0) * images)
        costs["floor"] = Cost((errors + 1) / images)
    for rule, request in RULES.items():
        found, spent = _searched(request, landscape, objectives)
        if rule == "pruned" and found[:top_k] != soups[:top_k]:
            raise AssertionError(f"a pruned grid named other soups: {found[:top_k]}, not {soups[:top_k]}")
        costs[rule] = Cost(spent / passes, found[0].score == soups[0].score)
    return costs


def _searched(
    request: StrategyRequest, landscape: RecordedLandscape, objectives: Objectives
) -> tuple[list[Evaluation], int]:
    """The soups that have a score, best first, and the passes that they took."""
    kind, space, trace = kind_of(request), Space(landscape.weights.shape[1]), Trace()
    strategy = kind.start(request, space, objectives, 0)
    run_search(strategy, kind.bound(request, space), LandscapeExecutor(landscape, None), trace, trace)
    outcomes: list[Outcome] = list(trace.found_now.values())
    found = [objectives.evaluation(soup.weights, outcome) for soup, outcome in trace.found_now.items()]
    return rank(found), sum(outcome.passes.forward for outcome in outcomes)


if __name__ == "__main__":
    main()
