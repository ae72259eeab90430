"""What ``budget.interval`` saves a search, and what that costs.

    python -m benchmarks.search.intervals landscapes

Runs ``bayes`` on all images of each landscape in the folder or in its folders. *Lacks*: the score of its best soup
below the best of the grid's, in nats or as a share of the images.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from search.budget import Budget, Meter
from search.evaluation import EvaluationRequest
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.space import Space
from search.strategies.bayes import KIND, Bayes
from search.strategies.grid import Grid
from search.testing import LandscapeExecutor, RecordedLandscape, Trace

INTERVALS = (None, 0.02, 0.05, 0.1)
MEASURES = (Measure(metric="nll"), Measure())


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description="What an interval saves a search.")
    parser.add_argument("landscapes", type=Path, help="folder of the landscapes, as record.py writes them")
    options = parser.parse_args(arguments)
    landscapes = [RecordedLandscape.load(path) for path in sorted(options.landscapes.glob("**/*.npz"))]
    columns = [
        f"`{measure.metric}`: {what}" for measure in MEASURES for what in ("evaluations", "lacks, mean", "lacks, worst")
    ]
    print(f"| interval | {' | '.join(columns)} |\n|{'---|' * (1 + len(columns))}")
    for interval in INTERVALS:
        cells = ["none" if interval is None else f"{interval:g}"]
        for measure in MEASURES:
            counts, lacks = zip(*(_searched(each, measure, interval) for each in landscapes), strict=True)
            cells += [f"{np.mean(counts):.1f}", f"{np.mean(lacks):.3f}", f"{np.max(lacks):.3f}"]
        print("| " + " | ".join(cells) + " |", flush=True)


def _searched(landscape: RecordedLandscape, measure: Measure, interval: float | None) -> tuple[int, float]:
    """How many soups were evaluated, and what the best of them lacks."""
    objectives = Objectives((measure,), accepted=(landscape.accepted,))
    request = Bayes(budget=Budget(interval=interval))
    space, trace = Space(landscape.weights.shape[1]), Trace()
    meter = Meter(request.budget, objectives)
    strategy = KIND.start(request, space, objectives, 0)
    end = run_search(strategy, KIND.bound(request, space), LandscapeExecutor(landscape), trace, trace, meter=meter)
    grid = [landscape.outcome(EvaluationRequest(tuple(row))) for row in Grid().lattice(space).weights().tolist()]
    best, found = (
        max(objectives.every_value(outcome)[0] for outcome in outcomes if objectives.is_valid(outcome))
        for outcomes in (grid, trace.found_now.values())
    )
    return end.soups, max(best - found, 0.0)


if __name__ == "__main__":
    main()
