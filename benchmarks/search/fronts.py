"""How fast bayes finds a Pareto front: expected hypervolume improvement beside ParEGO.

    python -m benchmarks.search.fronts tests/search/landscapes [--images 40] [--draws 3] [--made-up 6] [--json FILE]

Two objectives: accuracy, or the likelihood, under two shifts of one pantry, of recorded and of made-up soups. Printed
is the hypervolume of the front after 10, 20 and 30 evaluations as a share of that of the whole grid: the median over
pairs and seeds, and the worst. It is the volume above the worst ingredient, or uniform soup, in each objective.

The rule, fixed beforehand: expected hypervolume improvement is taken if after 20 evaluations its median is no less
than ParEGO's and its worst no lower by more than 0.02, for the recorded pairs and for those made up.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from search.budget import Budget
from search.evaluation import EvaluationRequest, Flags, Outcome, Passes, Status, Weights
from search.lattice import Lattice
from search.loop import run_search
from search.objectives import Measure, Metric, Objectives
from search.pareto import expected_improvement
from search.space import Space
from search.strategies.bayes import Acquisition, Bayes, BayesianSearch, starts
from search.testing import HasOutcomes, Landscape, LandscapeExecutor, RecordedLandscape, Trace

Array = NDArray[np.float64]
AFTER = (10, 20, 30)
AUGMENTED = 0.05
"""Share of the sum beside the least term in a weighted Chebyshev norm (Knowles, ParEGO, IEEE TEC 2006)."""


@dataclass(frozen=True)
class Pair:
    """Soups of one pantry under two shifts."""

    name: str
    first: HasOutcomes
    second: HasOutcomes
    accepted: tuple[Flags, Flags]
    size: int

    def outcome(self, request: EvaluationRequest) -> Outcome:
        """On both sets."""
        each = [landscape.outcome(request) for landscape in (self.first, self.second)]
        status: Status = "complete" if all(one.status == "complete" for one in each) else "not_finite"
        return Outcome(status, tuple(one.sets[0] for one in each), sum((one.passes for one in each), Passes()))


@dataclass(frozen=True)
class Reached:
    """The shares of the grid's hypervolume that one search has reached after ``AFTER`` evaluations."""

    kind: str
    pair: str
    metric: Metric
    rule: str
    seed: int
    shares: tuple[float, ...]


class ParEgo(Acquisition):
    """Expected improvement of an augmented Chebyshev norm of the objectives, weighted anew for each soup."""

    def __init__(self, plain: Acquisition, rng: np.random.Generator) -> None:
        vars(self).update(vars(plain))
        self._rng = rng

    def gains(self, points: Array, prediction: Array, pending: Sequence[int] = ()) -> Array:
        """See ``Acquisition``."""
        surrogate = self._surrogate
        if surrogate is None:
            return super().gains(points, prediction, pending)
        shares = self._rng.dirichlet(np.ones(prediction.shape[1]))
        low, extent = surrogate.found.min(axis=0), np.maximum(np.ptp(surrogate.found, axis=0), 1e-9)
        weighted = [(each - low) / extent * shares for each in (prediction, surrogate.found)]
        value, known = (each.min(axis=1) + AUGMENTED * each.sum(axis=1) for each in weighted)
        deviation = surrogate.process.deviation(points, points[list(pending)])[:, None] * surrogate.errors
        error = np.sqrt(((shares * deviation / extent) ** 2).sum(axis=1))
        return expected_improvement(known[:, None], known[:1], value[:, None], error[:, None])


class ParEgoSearch(BayesianSearch):
    """``bayes`` by ParEGO."""

    def _acquisition(self) -> Acquisition:
        return ParEgo(super()._acquisition(), np.random.default_rng([self._seed, len(self._proposed)]))


RULES: dict[str, type[BayesianSearch]] = {"ParEGO": ParEgoSearch, "expected hypervolume": BayesianSearch}


def searched(pair: Pair, metric: Metric, rule: str, seed: int) -> list[Array]:
    """The values (2,) of both objectives of the soups in the order proposed, those that have any."""
    objectives = objectives_of(pair, metric)
    request, trace = Bayes(budget=Budget(evaluations=max(AFTER))), Trace()
    strategy = RULES[rule](request, Space(pair.size), objectives, seed)
    run_search(strategy, max(AFTER), LandscapeExecutor(pair), trace, trace)
    return [values_of(objectives, trace.found_now[soup]) for soup in trace.soups]


def objectives_of(pair: Pair, metric: Metric) -> Objectives:
    """The metric under each shift."""
    measures = tuple(Measure(metric=metric, sets=(place,)) for place in range(2))
    return Objectives(measures, ("first", "second"), accepted=pair.accepted)


def values_of(objectives: Objectives, outcome: Outcome) -> Array:
    """Both objectives, minus infinity where logits are not finite."""
    return np.array(objectives.every_value(outcome) if objectives.is_valid(outcome) else [-np.inf] * 2)


def hypervolume(values: Array, reference: Array) -> float:
    """The area that ``values`` (m, 2) dominate above ``reference`` (2,)."""
    area, height = 0.0, float(reference[1])
    for first, second in values[np.lexsort((-values[:, 1], -values[:, 0]))].tolist():
        if first > reference[0] and second > height:
            area += (first - float(reference[0])) * (second - height)
            height = second
    return area


def compared(pair: Pair, kind: str, metric: Metric, seeds: int) -> list[Reached]:
    """Every rule on one pair; expected hypervolume improvement draws nothing, and needs one seed."""
    objectives = objectives_of(pair, metric)
    grid: list[Weights] = [tuple(row) for row in Lattice(pair.size).weights().tolist()]
    every = np.array([values_of(objectives, pair.outcome(EvaluationRequest(soup))) for soup in grid])
    first = [values_of(objectives, pair.outcome(EvaluationRequest(soup))) for soup in starts(pair.size)]
    reference = np.min(first, axis=0)
    most = hypervolume(np.array([*every, *first]), reference)
    found = []
    for rule in RULES:
        for seed in range(seeds if rule == "ParEGO" else 1):
            values = np.array(searched(pair, metric, rule, seed))
            shares = tuple(hypervolume(values[:count], reference) / most for count in AFTER)
            found.append(Reached(kind, pair.name, metric, rule, seed, shares))
    return found


def recorded_pairs(folder: Path, images: int, draws: int) -> list[Pair]:
    """Every two shifts of one pantry, by the beginning of the files' names, on several draws of the images."""
    landscapes = {path.stem: RecordedLandscape.load(path) for path in sorted(folder.glob("*.npz"))}
    pairs = []
    for draw, (first, second) in (
        (draw, names)
        for names in combinations(landscapes, 2)
        if names[0].split("-")[:2] == names[1].split("-")[:2]
        for draw in range(draws)
    ):
        rng = np.random.default_rng(draw)
        one, other = (
            each.of_images(np.sort(rng.permutation(len(each.labels))[:images]))
            for each in (landscapes[first], landscapes[second])
        )
        accepted = one.accepted, other.accepted
        pairs.append(Pair(f"{first}, {second}, {draw}", one, other, accepted, one.weights.shape[1]))
    return pairs


def made_up_pairs(count: int) -> list[Pair]:
    """Landscapes of four ingredients on 100 images."""
    pairs = []
    for seed in range(count):
        first, second = (Landscape(4, images=100, classes=5, seed=2 * seed + place) for place in range(2))
        pairs.append(Pair(f"made up, {seed}", first, second, (first.accepted, second.accepted), 4))
    return pairs


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table."""
    options = _parser().parse_args(arguments)
    pairs = {
        "recorded": recorded_pairs(options.landscapes, options.images, options.draws),
        "made up": made_up_pairs(options.made_up),
    }
    metrics: list[Metric] = ["accuracy", "nll"]
    found = [
        each
        for kind, several in pairs.items()
        for metric in metrics
        for pair in several
        for each in compared(pair, kind, metric, options.seeds)
    ]
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=1))
    print("| soups | metric | rule | after 10: median | worst | after 20 | worst | after 30 | worst |")
    print("|---" * 9 + "|")
    for kind in pairs:
        for chosen in ([metric] for metric in metrics), [metrics]:
            for some in chosen:
                for rule in RULES:
                    shares = np.array(
                        [
                            each.shares
                            for each in found
                            if (each.kind, each.rule) == (kind, rule) and each.metric in some
                        ]
                    )
                    cells = [f"{value:.3f}" for column in shares.T for value in (np.median(column), column.min())]
                    print(f"| {kind} | {' and '.join(some)} | {rule} | {' | '.join(cells)} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="How fast bayes finds a Pareto front.")
    parser.add_argument("landscapes", type=Path, help="folder of recorded landscapes, PANTRY-SHIFT.npz")
    parser.add_argument("--images", type=int, default=40, help="images of each shift")
    parser.add_argument("--draws", type=int, default=3, help="draws of these images")
    parser.add_argument("--made-up", type=int, default=6, help="pairs of made-up landscapes")
    parser.add_argument("--seeds", type=int, default=3, help="seeds of ParEGO")
    parser.add_argument("--json", type=Path, help="write every search to this file")
    return parser


if __name__ == "__main__":
    main()
