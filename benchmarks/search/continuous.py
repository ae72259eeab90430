"""What bayes finds between the points of the lattice, beside what it finds on it, on made-up smooth landscapes.

    python -m benchmarks.search.continuous [--sizes 3 4] [--seeds 20]

The best value of the continuous search minus that of the lattice's, with the same budget: in nats, or as a share of
the images. The rule, fixed beforehand: by NLL it is no less than -0.001 in 90 % of the landscapes, and its median no
less than 0.
"""

import argparse
from collections.abc import Sequence

import numpy as np

from search.budget import Budget
from search.loop import run_search
from search.objectives import Measure, Metric, Objectives
from search.space import Space
from search.strategies.bayes import KIND, Bayes
from search.testing import Landscape, LandscapeExecutor, Trace

NO_WORSE = -0.001
METRICS: tuple[Metric, ...] = ("nll", "accuracy")


def best(landscape: Landscape, objectives: Objectives, *, continuous: bool) -> tuple[float, int]:
    """The best value, and how many soups were evaluated."""
    space, trace = Space(landscape.size), Trace()
    request = Bayes(continuous=continuous, budget=Budget(evaluations=max(32, 6 * landscape.size)))
    strategy = KIND.start(request, space, objectives, 0)
    run_search(strategy, KIND.bound(request, space), LandscapeExecutor(landscape), trace, trace)
    return max(objectives.every_value(outcome)[0] for outcome in trace.found_now.values()), len(trace.soups)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    parser = argparse.ArgumentParser(description="What bayes finds between the points of the lattice.")
    parser.add_argument("--sizes", type=int, nargs="+", default=[3, 4], help="numbers of ingredients")
    parser.add_argument("--seeds", type=int, default=20, help="landscapes of each size")
    options = parser.parse_args(arguments)
    print("| ingredients | metric | models | least | median | greatest | no worse | evaluations | on the lattice |")
    print("|---" * 9 + "|")
    for size in options.sizes:
        landscapes = [Landscape(size, images=100, classes=5, seed=seed) for seed in range(options.seeds)]
        for metric in METRICS:
            for models in ("logits", "scores"):
                pairs = [
                    [best(each, objectives, continuous=value) for value in (True, False)]
                    for each in landscapes
                    for accepted in [(each.accepted,) if models == "logits" else ()]
                    for objectives in [Objectives((Measure(metric=metric),), accepted=accepted)]
                ]
                gains = np.array([off[0] - on[0] for off, on in pairs])
                counts = np.mean([(off[1], on[1]) for off, on in pairs], axis=0)
                values = [f"{value:+.3f}" for value in (gains.min(), np.median(gains), gains.max())]
                share = f"{int((gains >= NO_WORSE).sum())} of {len(gains)}"
                cells = [str(size), metric, models, *values, share, *(f"{count:.0f}" for count in counts)]
                print(f"| {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
