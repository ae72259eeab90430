"""What a job finds without any label, with BatchNorm statistics of the images, beside what a sceptic would try.

    python -m benchmarks.search.unlabelled examples/pantries/fashion-resnet [--unlabelled 300] [--shifts frost:4 ...]

For each shift the images of ``benchmarks.search.record`` are drawn again: some have no label, choose and give their
statistics; the others score the checkpoints, as merged and refined. ``Best`` is the best by mutual information on the
images without a label, of the ingredients or of the soups that ``auto`` tries.
"""

import argparse
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from benchmarks.search.few_labels import KEPT_OUT
from benchmarks.search.record import COUNTS, DEFAULT_SHIFTS, shifted_images
from lab.data.draws import disjoint_draws
from lab.data.idx import load_idx_folder
from search.evaluation import PLAIN, EvaluationRequest, Refinement, Weights
from search.guards import guards_of
from search.information import UnlabelledSet
from search.loop import run_search
from search.objectives import Measure, Objectives
from search.ranking import rank
from search.resampling import sample_interval
from search.space import Space
from search.strategies.auto import KIND, Auto
from search.strategies.bayes import starts
from search.testing import Trace
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.jobs.refining import ADAPTED, refined_soup
from workers.soups.files import save_model, soup_config
from workers.soups.stack import IngredientStack, single_model

ALONE = UnlabelledSet(0)
ROWS = ("best ingredient", "soup", "best ingredient, adapted", "uniform soup, adapted", "soup, adapted")


class LabelFreeComparison:
    """All rows for one shift; ``chosen`` are images without a label, ``others`` those that score."""

    def __init__(self, stack: IngredientStack, chosen: EncodedSet, others: EncodedSet, scratch: Path) -> None:
        self._stack, self._chosen, self._others, self._scratch = stack, chosen, others, scratch
        self._executor = LocalExecutor(Evaluator(stack, [chosen]))
        measure = Measure(metric="mutual_information", sets=(), unlabelled=(ALONE,))
        none = np.zeros((len(chosen), chosen.space.num_classes), dtype=bool)
        self._objectives = Objectives((measure,), accepted=(none,))

    def accuracies(self) -> list[float]:
        """In the order of ``ROWS``."""
        uniform = starts(len(self._stack))[-1]
        return [
            self._delivered(self._best_ingredient(PLAIN), PLAIN),
            self._delivered(self._searched(PLAIN), PLAIN),
            self._delivered(self._best_ingredient(ADAPTED), ADAPTED),
            self._delivered(uniform, ADAPTED),
            self._delivered(self._searched(ADAPTED), ADAPTED),
        ]

    def _best_ingredient(self, refinement: Refinement) -> Weights:
        singles = starts(len(self._stack))[:-1]
        requests = [EvaluationRequest(each, keep_logits=True, refinement=refinement) for each in singles]
        found = self._executor.outcomes(requests)
        self._objectives = replace(self._objectives, guards=guards_of([ALONE], found))
        return rank(map(self._objectives.evaluation, singles, found))[0].weights

    def _searched(self, refinement: Refinement) -> Weights:
        space, trace, request = Space(len(self._stack)), Trace(), Auto()
        strategy = KIND.start(request, space, self._objectives, 0)
        bound = KIND.bound(request, space)
        run_search(strategy, bound, self._executor, trace, trace, refinement=refinement, keep_logits=True)
        return rank(self._objectives.evaluation(soup.weights, trace.found_now[soup]) for soup in trace.soups)[0].weights

    def _delivered(self, weights: Weights, refinement: Refinement) -> float:
        tensors, _ = refined_soup(self._stack, weights, [self._chosen], refinement)
        path = save_model(self._scratch / "model", tensors, soup_config(self._stack.config), {})
        evaluator = Evaluator(IngredientStack.from_arrays(single_model(path.parent)), [self._others])
        [outcome] = LocalExecutor(evaluator).outcomes([EvaluationRequest((1.0,))])
        return outcome.sets[0].accuracy


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table of the shifts, and means with intervals of the differences from the last row."""
    options = _parser().parse_args(arguments)
    data = load_idx_folder(options.data, "test")
    rows = np.concatenate(disjoint_draws(data.labels, COUNTS, 0, classes=10))
    rows = rows[np.random.default_rng(0).permutation(len(rows))][KEPT_OUT:]
    stack = IngredientStack.from_folders(sorted(path.parent for path in options.pantry.glob("*/model.safetensors")))
    config = DataConfig.of(stack.config)
    found: dict[str, list[float]] = {}
    for shift in options.shifts:
        images = encode_images(shifted_images(data, rows, shift), config)
        whole = EncodedSet.of_classes(images, data.labels[rows].tolist(), 10)
        chosen = replace(whole, images=images[: options.unlabelled], accepted=None)
        others = replace(whole, images=images[options.unlabelled :], accepted=whole.labels[options.unlabelled :])
        with tempfile.TemporaryDirectory() as scratch:
            found[shift] = LabelFreeComparison(stack, chosen, others, Path(scratch)).accuracies()
        print(shift, *(f"{100 * each:.1f}" for each in found[shift]), sep=" | ", flush=True)
    print(f"\n**{options.pantry.name}**, {options.unlabelled} images without a label\n")
    print(f"| | {' | '.join(found)} | mean | soup, adapted, minus this, points | worst |")
    print("|---" * (len(found) + 4) + "|")
    values = 100 * np.array(list(found.values()))
    for place, row in enumerate(ROWS):
        gains = values[:, -1] - values[:, place]
        low, high = sample_interval(gains)
        cells = [row, *(f"{value:.1f}" for value in values[:, place]), f"{values[:, place].mean():.1f}"]
        print(f"| {' | '.join(cells)} | {gains.mean():+.1f} ({low:+.1f} to {high:+.1f}) | {gains.min():+.1f} |")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What a job finds without any label, beside its baselines.")
    parser.add_argument("pantry", type=Path, help="folder of ingredients with BatchNorm")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--shifts", nargs="+", default=list(DEFAULT_SHIFTS), help="shipped, or NAME:SEVERITY")
    parser.add_argument("--unlabelled", type=int, default=300, help="images without a label")
    return parser


if __name__ == "__main__":
    main()
