"""How much better the best of a grid looks than it is, and what cross-validating the choice makes of it.

    python -m benchmarks.search.optimism landscapes [--draws 3]

For the best soup by accuracy and by NLL, chosen by some of a landscape's images: its accuracy on them, and that of
the choice cross-validated, minus its accuracy on the other images; and how often each 95 % interval holds the latter,
widened by what the latter is uncertain itself.
"""

import argparse
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from search.evaluation import EvaluationRequest, Outcome, Weights, weights_key
from search.lattice import Lattice
from search.objectives import Measure, Objectives
from search.ranking import rank
from search.selection import cross_validated
from search.testing import RecordedLandscape

IMAGES = (30, 100, 300)
MEASURES = (Measure(), Measure(metric="nll"))


@dataclass(frozen=True)
class Estimate:
    """An accuracy minus the true one, and whether its interval holds the true one."""

    bias: float
    holds: bool


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    options = _parser().parse_args(arguments)
    landscapes = [RecordedLandscape.load(path) for path in sorted(options.landscapes.glob("*/*.npz"))]
    print("| images | chosen by | as selected, points | interval holds | cross-validated, points | interval holds |")
    print("|---|---|---|---|---|---|")
    for count in IMAGES:
        for measure in MEASURES:
            drawn = [_drawn(each, count, draw, measure) for each in landscapes for draw in range(options.draws)]
            cells = [str(count), measure.metric]
            for estimates in zip(*drawn, strict=True):
                cells += [f"{100 * np.mean([each.bias for each in estimates]):+.1f}"]
                cells += [f"{np.mean([each.holds for each in estimates]):.2f}"]
            print("| " + " | ".join(cells) + " |", flush=True)


def _drawn(whole: RecordedLandscape, count: int, draw: int, measure: Measure) -> tuple[Estimate, Estimate]:
    """As selected, and cross-validated."""
    rows = np.sort(np.random.default_rng(draw).permutation(len(whole.labels))[:count])
    landscape, others = whole.of_images(rows), np.setdiff1d(np.arange(len(whole.labels)), rows)
    objectives = Objectives((measure,))
    soups: list[Weights] = [tuple(row) for row in Lattice(whole.weights.shape[1]).weights().tolist()]
    found = [(soup, landscape.outcome(EvaluationRequest(soup))) for soup in soups]
    best = rank(objectives.evaluation(soup, outcome) for soup, outcome in found)[0].weights
    place = [weights_key(row) for row in whole.weights.tolist()].index(weights_key(best))
    truth = float((whole.logits[place].argmax(axis=1) == whole.labels)[others].mean())
    crossed = cross_validated(objectives, found)
    if crossed is None:
        raise ValueError(f"{count} images are too few to cross-validate")
    return _estimate(dict(found)[best], truth, len(others)), _estimate(crossed, truth, len(others))


def _estimate(outcome: Outcome, truth: float, others: int) -> Estimate:
    accuracy = Objectives()
    low, high = accuracy.interval(outcome) or (0.0, 1.0)
    own = 1.96 * float(np.sqrt(truth * (1 - truth) / others))
    return Estimate(accuracy.every_value(outcome)[0] - truth, low - own <= truth <= high + own)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="How much better the best of a grid looks than it is.")
    parser.add_argument("landscapes", type=Path, help="folder of the files that record.py writes")
    parser.add_argument("--draws", type=int, default=3, help="draws of the images that choose")
    return parser


if __name__ == "__main__":
    main()
