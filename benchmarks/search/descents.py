"""What gradient and continuous bayes find beside the grid and bayes, at what cost, and what that is on other images.

    python -m benchmarks.search.descents examples/pantries/fashion-resnet [--shifts frost:4 ...] [--json FILE]

For each shift, 100 images choose a soup by NLL, and 600 others score it. Soups are evaluated as they are asked for.
Printed for each rule, as means over the shifts: evaluations, passes of one image, the NLL of the soup minus that of the
grid's best on the 100 images and on the others, and accuracy on the others minus that of the grid's best, both with a
95 % interval over the shifts; and in how many shifts the soup's NLL on the 100 images is no more than that of the
grid's best.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from benchmarks.search.record import COUNTS, DEFAULT_SHIFTS, shifted_images
from lab.data.draws import disjoint_draws
from lab.data.idx import load_idx_folder
from search.evaluation import EvaluationRequest, Outcome
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.ranking import rank
from search.resampling import sample_interval
from search.space import Space
from search.strategies.bayes import Bayes
from search.strategies.gradient import Gradient
from search.strategies.grid import Grid
from search.strategy import StrategyRequest, kind_of
from search.testing import Trace
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack

GRID = "grid"
RULES: dict[str, StrategyRequest] = {
    GRID: Grid(),
    "bayes": Bayes(),
    "bayes, continuous": Bayes(continuous=True),
    "gradient": Gradient(),
    "gradient, one at a time": Gradient(descents=1),
}


@dataclass(frozen=True)
class Descended:
    """One search: its cost, and its soup on the images that chose it and on the others."""

    shift: str
    rule: str
    evaluations: int
    forward: int
    backward: int
    nll: float
    other_nll: float
    other_accuracy: float


def compared(stack: IngredientStack, chosen: EncodedSet, others: EncodedSet, shift: str) -> list[Descended]:
    """Every rule on one shift."""
    labels = np.zeros((len(chosen), chosen.space.num_classes), dtype=bool)
    labels[np.arange(len(chosen)), [accepted[0] for accepted in chosen.labels]] = True
    objectives = Objectives((Measure(metric="nll"),), accepted=(labels,))
    evaluator, space = Evaluator(stack, [chosen]), Space(len(stack))
    judge = Evaluator(stack, [others], soup=evaluator.soup)
    found = []
    for rule, request in RULES.items():
        kind, trace = kind_of(request), Trace()
        strategy = kind.start(request, space, objectives, 0)
        run_search(strategy, kind.bound(request, space), LocalExecutor(evaluator), trace, trace)
        outcomes: list[Outcome] = list(trace.found_now.values())
        best = rank(objectives.evaluation(soup.weights, trace.found_now[soup]) for soup in trace.soups)[0]
        [held_out] = judge.answer(EvaluationRequest(best.weights)).sets
        forward, backward = (
            sum(each) for each in zip(*((one.passes.forward, one.passes.backward) for one in outcomes), strict=True)
        )
        cost = len(outcomes), forward, backward
        found.append(Descended(shift, rule, *cost, best.nll or 0.0, held_out.nll, held_out.accuracy))
    return found


def main(arguments: Sequence[str] | None = None) -> None:
    """Print each search, and a Markdown table of the rules."""
    options = _parser().parse_args(arguments)
    data = load_idx_folder(options.data, "test")
    draws = disjoint_draws(data.labels, COUNTS, 0, classes=10)
    stack = IngredientStack.from_folders(sorted(path.parent for path in options.pantry.glob("*/model.safetensors")))
    config = DataConfig.of(stack.config)
    found: list[Descended] = []
    for shift in options.shifts:
        chosen, others = (
            EncodedSet.of_classes(
                encode_images(shifted_images(data, rows, shift), config), data.labels[rows].tolist(), 10
            )
            for rows in draws
        )
        rows = compared(stack, chosen, others, shift)
        for each in rows:
            print(
                f"{shift} | {each.rule} | {each.evaluations} | {each.nll:.4f} | {each.other_nll:.4f} | "
                f"{each.other_accuracy:.3f}",
                flush=True,
            )
        found += rows
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=1))
    print(f"\n{options.pantry.name}:\n")
    print(
        "| rule | evaluations | forward passes | backward passes | NLL, chosen by | no worse than the grid | "
        "NLL, held out | accuracy, held out, points |"
    )
    print("|---" * 8 + "|")
    for rule in RULES:
        print(_row(found, rule))


def _row(found: Sequence[Descended], rule: str) -> str:
    ours, grid = ([each for each in found if each.rule == name] for name in (rule, GRID))
    costs = [np.mean([getattr(each, name) for each in ours]) for name in ("evaluations", "forward", "backward")]
    nll = np.array([mine.nll - theirs.nll for mine, theirs in zip(ours, grid, strict=True)])
    others = np.array([mine.other_nll - theirs.other_nll for mine, theirs in zip(ours, grid, strict=True)])
    points = np.array([100 * (mine.other_accuracy - its.other_accuracy) for mine, its in zip(ours, grid, strict=True)])
    cells = [f"{cost:,.0f}" for cost in costs]
    cells += [_with_interval(nll, 3), f"{int((nll <= 1e-6).sum())} of {len(nll)}"]
    return f"| {rule} | " + " | ".join([*cells, _with_interval(others, 3), _with_interval(points, 1)]) + " |"


def _with_interval(values: np.ndarray, digits: int) -> str:
    low, high = sample_interval(values)
    return f"{values.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What the strategy gradient finds beside the grid and bayes.")
    parser.add_argument("pantry", type=Path, help="folder of ingredients")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--shifts", nargs="+", default=list(DEFAULT_SHIFTS), help="shipped, or NAME:SEVERITY")
    parser.add_argument("--json", type=Path, help="write every search to this file")
    return parser


if __name__ == "__main__":
    main()
