"""What layer-wise soups are worth on other images, as they are and refined, and whether cross-validation knows.

    python -m benchmarks.search.layers examples/pantries/fashion-resnet [--images 100] [--shifts frost:4 ...]

The kinds of soups, their descents and the rule that takes one are those of ``search.layers``; the ordinary soup from
which they begin is the best that a descent finds. The others of the images score all kinds, and the kind that the rule
takes: as they are, and after the refinement with the best cross-validated likelihood. The last row is the soup that the
default request finds, which looks for the best soup after its refinement.
"""

import argparse
import json
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.record import DEFAULT_SHIFTS, shifted_images
from benchmarks.search.refined import Comparison
from lab.data.draws import disjoint_draws
from lab.data.idx import load_idx_folder
from search.evaluation import EvaluationRequest
from search.folds import stratified_folds
from search.layers import LAYER_KINDS, Ladder, LayerFit, LayerKind
from search.objectives import Measure, Objectives
from search.resampling import sample_interval
from search.space import Space
from search.strategies.gradient import Gradient
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack

Array = NDArray[np.float64]
FOLDS = 5
OTHERS = 600
ONE = "one"
TAKEN = "taken by the rule"
DEFAULT = "default request"


@dataclass(frozen=True)
class Judged:
    """One kind of soup on one shift; ``nll`` is on the images that it was fitted to."""

    shift: str
    kind: str
    nll: float
    crossed_nll: float
    other_nll: float
    other_accuracy: float
    refined_accuracy: float


def judged(stack: IngredientStack, chosen: EncodedSet, others: EncodedSet, shift: str) -> tuple[list[Judged], int]:
    """Every kind on one shift, what the rule takes and the default request; and how many soups the ladder evaluated."""
    whole = Evaluator(stack, [chosen])
    judge = LocalExecutor(Evaluator(stack, [others], soup=whole.soup))
    folds = stratified_folds([accepted[0] for accepted in chosen.labels], FOLDS)
    objectives = Objectives((Measure(metric="nll"),))
    ladder = Ladder(objectives, Gradient().box(Space(len(stack))), stack.layout.layers)

    def executor_without(fold: int | None) -> LocalExecutor:
        images = chosen if fold is None else part(chosen, folds != fold)
        return LocalExecutor(Evaluator(stack, [images], soup=whole.soup))

    soup = LayerFit(executor_without(None), objectives, ladder.box, ladder.layers).best_soup()
    climbed = ladder.climb(executor_without, tuple(map(float, soup)), [folds])
    names: dict[str, LayerKind] = {**{kind: kind for kind in LAYER_KINDS}, TAKEN: climbed.taken}
    soups = [climbed.soups[kind] for kind in names.values()]
    requests = [EvaluationRequest(soup) for soup in soups]
    outcomes = zip(executor_without(None).outcomes(requests), judge.outcomes(requests), strict=True)
    with tempfile.TemporaryDirectory() as scratch:
        comparison = Comparison(stack, chosen, others, Path(scratch))
        refined = comparison.refined_accuracies(soups)
        rows = [
            Judged(
                shift,
                name,
                fitted.sets[0].nll,
                climbed.crossed[kind].sets[0].nll,
                held_out.sets[0].nll,
                held_out.sets[0].accuracy,
                accuracy,
            )
            for (name, kind), (fitted, held_out), accuracy in zip(names.items(), outcomes, refined, strict=True)
        ]
        default = comparison.rows()[-1].accuracy
    rows.append(Judged(shift, DEFAULT, *(np.nan,) * 4, default))
    print(
        f"{shift}: took {climbed.taken}, {climbed.evaluations} evaluations", *map(_cells, rows), sep=" | ", flush=True
    )
    return rows, climbed.evaluations


def _cells(row: Judged) -> str:
    nll = f"{row.nll:.3f} {row.crossed_nll:.3f} {row.other_nll:.3f}"
    return f"{row.kind}: NLL {nll}, {100 * row.other_accuracy:.1f} %, refined {100 * row.refined_accuracy:.1f} %"


def part(images: EncodedSet, rows: NDArray[np.bool_]) -> EncodedSet:
    """Some of the images."""
    kept = np.flatnonzero(rows)
    return EncodedSet(images.images[kept], tuple(images.labels[row] for row in kept), images.space)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print what the rule takes for each shift, and a Markdown table of the kinds."""
    options = _parser().parse_args(arguments)
    data = load_idx_folder(options.data, "test")
    draws = disjoint_draws(data.labels, (options.images, OTHERS), 0, classes=10)
    stack = IngredientStack.from_folders(sorted(path.parent for path in options.pantry.glob("*/model.safetensors")))
    config = DataConfig.of(stack.config)
    found: list[Judged] = []
    evaluations = []
    for shift in options.shifts:
        chosen, others = (
            EncodedSet.of_classes(
                encode_images(shifted_images(data, rows, shift), config), data.labels[rows].tolist(), 10
            )
            for rows in draws
        )
        rows, count = judged(stack, chosen, others, shift)
        found += rows
        evaluations.append(count)
    if options.json is not None:
        options.json.write_text(json.dumps([asdict(each) for each in found], indent=1))
    print(f"\n{options.pantry.name}, {options.images} images, {len(options.shifts)} shifts,", end=" ")
    print(f"{np.mean(evaluations):.0f} evaluations a shift:\n")
    print("Differences from the ordinary soup; accuracies are held out, in points.\n")
    print("| kind | NLL, fitted | NLL, cross-validated | NLL, held out | accuracy | accuracy, refined |")
    print("|---" * 6 + "|")
    for kind in dict.fromkeys(each.kind for each in found):
        print(_row(found, kind))


def _row(found: Sequence[Judged], kind: str) -> str:
    ours, plain = ([each for each in found if each.kind == name] for name in (kind, ONE))

    def differences(read: Callable[[Judged], float], digits: int) -> str:
        pairs = zip(ours, plain, strict=True)
        return _with_interval(np.array([read(mine) - read(theirs) for mine, theirs in pairs]), digits)

    refined = differences(lambda each: 100 * each.refined_accuracy, 1)
    if kind == DEFAULT:
        return f"| {kind} | | | | | {refined} |"
    cells = [
        differences(lambda each: each.nll, 3),
        differences(lambda each: each.crossed_nll, 3),
        differences(lambda each: each.other_nll, 3),
        differences(lambda each: 100 * each.other_accuracy, 1),
        refined,
    ]
    return f"| {kind} | {' | '.join(cells)} |"


def _with_interval(values: Array, digits: int) -> str:
    low, high = sample_interval(values)
    return f"{values.mean():+.{digits}f} ({low:+.{digits}f} to {high:+.{digits}f})"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What layer-wise soups are worth on other images.")
    parser.add_argument("pantry", type=Path, help="folder of ingredients")
    parser.add_argument("--images", type=int, default=100, help="images to fit to")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--shifts", nargs="+", default=list(DEFAULT_SHIFTS), help="shipped, or NAME:SEVERITY")
    parser.add_argument("--json", type=Path, help="write every figure to this file")
    return parser


if __name__ == "__main__":
    main()
