"""What strategies find on recorded landscapes, at what cost, and what it is worth on other images.

    python -m benchmarks.search.record examples/pantries/fashion-vit --out landscapes
    python -m benchmarks.search.run landscapes [--images 100] [--draws 3] [--evaluations 32] [--rivals] [--json FILE]

For each landscape and draw, ``--images`` of its images choose a soup and the others score it. Printed for each pantry
and rule, over landscapes and draws: after how many evaluations a soup within 0.01 nats of the grid's best by NLL was
known (median and worst), evaluations made, their share of the grid's, and held-out accuracy minus that of the grid's
best by NLL, with a 95 % interval over landscapes and draws. This also holds for searches by accuracy.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.rivals import RIVALS, Rival, Setting
from search.budget import Budget
from search.evaluation import EvaluationRequest, Weights, weights_key
from search.lattice import Lattice
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.ranking import Evaluation, rank
from search.resampling import sample_interval
from search.space import Space
from search.strategies.bayes import Bayes, starts
from search.strategies.random import Random
from search.strategy import StrategyRequest, kind_of
from search.testing import LandscapeExecutor, RecordedLandscape, Trace

NEAR = 0.01
"""Nats from the best soup's NLL that count as found."""
ACCURACY, NLL = Measure(), Measure(metric="nll")


@dataclass(frozen=True)
class Found:
    """One search: ``reached`` evaluations were made before a soup near the best was known, None where none was."""

    pantry: str
    landscape: str
    draw: int
    rule: str
    reached: int | None
    evaluations: int
    share: float
    """Of the grid's evaluations."""
    gain: float
    """Held-out accuracy minus that of the grid's best soup by NLL."""


Rule = Callable[[RecordedLandscape, int], list[Evaluation]]
"""The soups evaluated, in their order, for a landscape and a seed."""


def by_strategy(request: StrategyRequest, measure: Measure, *, reads_logits: bool = True) -> Rule:
    """A strategy of this project."""

    def run(landscape: RecordedLandscape, seed: int) -> list[Evaluation]:
        objectives = Objectives((measure,), accepted=(landscape.accepted,) if reads_logits else ())
        kind, space, trace = kind_of(request), Space(landscape.weights.shape[1]), Trace()
        strategy = kind.start(request, space, objectives, seed)
        run_search(strategy, kind.bound(request, space), LandscapeExecutor(landscape), trace, trace)
        return [objectives.evaluation(soup.weights, trace.found_now[soup]) for soup in trace.soups]

    return run


def by_rival(rival: Rival, measure: Measure, evaluations: int) -> Rule:
    """Another project's optimiser."""

    def run(landscape: RecordedLandscape, seed: int) -> list[Evaluation]:
        size = landscape.weights.shape[1]
        lattice, objectives = Lattice(size), Objectives((measure,))
        first = starts(size)
        found: dict[str, Evaluation] = {}

        def score(coordinates: list[float]) -> float:
            weights: Weights = (*coordinates, 1 - sum(coordinates))
            if weights_key(weights) not in {weights_key(each) for each in first}:
                weights = tuple(lattice.at(lattice.nearest(weights)[None])[0].tolist())
            key = weights_key(weights)
            if key not in found:
                if len(found) == evaluations:
                    raise StopIteration
                found[key] = objectives.evaluation(weights, landscape.outcome(EvaluationRequest(weights)))
            value = found[key].score
            return -100.0 if value is None else value

        with suppress(StopIteration):
            rival(Setting(first, lattice.lower, lattice.upper, seed, evaluations), score)
        return list(found.values())

    return run


def rules(evaluations: int, *, rivals: bool) -> dict[str, Rule]:
    """Every rule by its name."""
    budget = Budget(evaluations=evaluations)
    chosen = {
        "bayes, NLL": by_strategy(Bayes(budget=budget), NLL),
        "bayes, NLL, one at a time": by_strategy(Bayes(budget=budget, batch=1), NLL),
        "bayes, NLL, from scores": by_strategy(Bayes(budget=budget), NLL, reads_logits=False),
        "bayes, accuracy": by_strategy(Bayes(budget=budget), ACCURACY),
        "bayes, accuracy, from scores": by_strategy(Bayes(budget=budget), ACCURACY, reads_logits=False),
        "random, NLL": by_strategy(Random(budget=budget), NLL),
        "random, accuracy": by_strategy(Random(budget=budget), ACCURACY),
    }
    others = {f"{name}, NLL": by_rival(rival, NLL, evaluations) for name, rival in RIVALS.items()} if rivals else {}
    return chosen | others


def measured(path: Path, options: argparse.Namespace) -> list[Found]:
    """All rules on one landscape."""
    whole = RecordedLandscape.load(path)
    draws = [np.random.default_rng(draw).permutation(len(whole.labels)) for draw in range(options.draws)]
    chosen = [np.sort(rows[: options.images]) for rows in draws]
    return [found for draw, rows in enumerate(chosen) for found in _drawn(path, whole, rows, draw, options)]


def _drawn(
    path: Path, whole: RecordedLandscape, rows: NDArray[np.intp], draw: int, options: argparse.Namespace
) -> list[Found]:
    """All rules by some of the images; and the grid by accuracy and the best ingredient, which cost no search here."""
    landscape = whole.of_images(rows)
    right = whole.logits.argmax(axis=2) == whole.labels
    held_out = right[:, np.setdiff1d(np.arange(len(whole.labels)), rows)].mean(axis=1)
    accuracies = dict(zip(map(weights_key, whole.weights.tolist()), held_out.tolist(), strict=True))
    by_accuracy, by_nll = (_every(landscape, measure) for measure in (ACCURACY, NLL))
    best = rank(by_nll)[0]
    singles = {weights_key(start) for start in starts(whole.weights.shape[1])[:-1]}
    ingredients = [soup for soup in by_nll if weights_key(soup.weights) in singles]
    tried = {"grid, accuracy": by_accuracy, "best ingredient, NLL": ingredients} | {
        name: rule(landscape, draw) for name, rule in rules(options.evaluations, rivals=options.rivals).items()
    }
    found = []
    for rule, soups in tried.items():
        near = [place + 1 for place, soup in enumerate(soups) if (soup.nll or 0.0) <= (best.nll or 0.0) + NEAR]
        gain = accuracies[weights_key(rank(soups)[0].weights)] - accuracies[weights_key(best.weights)]
        share = len(soups) / len(by_nll)
        reached = min(near, default=None)
        found.append(Found(path.parent.name, path.stem, draw, rule, reached, len(soups), share, gain))
    return found


def _every(landscape: RecordedLandscape, measure: Measure) -> list[Evaluation]:
    objectives = Objectives((measure,))
    soups: list[Weights] = [tuple(row) for row in Lattice(landscape.weights.shape[1]).weights().tolist()]
    return [objectives.evaluation(soup, landscape.outcome(EvaluationRequest(soup))) for soup in soups]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table for each pantry."""
    options = _parser().parse_args(arguments)
    found = [each for path in sorted(options.landscapes.glob("*/*.npz")) for each in measured(path, options)]
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=1))
    for pantry in dict.fromkeys(each.pantry for each in found):
        print(f"\n{pantry}, {options.images} images, {options.draws} draws:\n")
        print("| rule | near after (median) | worst | evaluations | share of the grid | held out, points | 95 % |")
        print("|---|---|---|---|---|---|---|")
        for rule in dict.fromkeys(each.rule for each in found):
            print(_row(rule, [each for each in found if (each.pantry, each.rule) == (pantry, rule)]))


def _row(rule: str, found: Sequence[Found]) -> str:
    reached = [np.inf if each.reached is None else each.reached for each in found]
    gains = np.array([100 * each.gain for each in found])
    low, high = sample_interval(gains)
    evaluations, share = (
        float(np.mean(each)) for each in ([one.evaluations for one in found], [one.share for one in found])
    )
    median, worst = (f"{each:.0f}" if np.isfinite(each) else "never" for each in (np.median(reached), max(reached)))
    cells = [rule, median, worst, f"{evaluations:.0f}", f"{share:.2f}"]
    return "| " + " | ".join([*cells, f"{gains.mean():+.1f}", f"{low:+.1f} to {high:+.1f}"]) + " |"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What strategies find on recorded landscapes.")
    parser.add_argument("landscapes", type=Path, help="folder of the files that record.py writes")
    parser.add_argument("--images", type=int, default=100, help="images to choose by")
    parser.add_argument("--draws", type=int, default=3, help="draws of these images")
    parser.add_argument("--evaluations", type=int, default=32, help="budget of each search")
    parser.add_argument("--rivals", action="store_true", help="also run the optimisers of rivals.py")
    parser.add_argument("--json", type=Path, help="write every search to this file")
    return parser


if __name__ == "__main__":
    main()
