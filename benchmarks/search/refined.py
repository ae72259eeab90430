"""What a job with the default preset finds beside the baselines that a sceptic would try, on held-out images.

    python -m benchmarks.search.refined examples/pantries/fashion-resnet [--shifts frost:4 ...] [--json FILE]

For each shift, 100 images choose and refine; 600 others score the checkpoints, as merged and refined. Rows: the best
ingredient, the soup found by NLL, the best ingredient after each refinement alone, the best refined ingredient of all,
and the refined soup. Every choice is made by cross-validated NLL on the 100 images.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.search.record import COUNTS, DEFAULT_SHIFTS, shifted_images
from lab.data.draws import disjoint_draws
from lab.data.idx import load_idx_folder
from search.evaluation import PLAIN, EvaluationRequest, LayerWeights, Outcome, Refinement, Weights
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
from workers.jobs.refining import ADAPTED, REFITTED, evaluate_refined, refined_soup, simplicity
from workers.soups.files import save_model, soup_config
from workers.soups.stack import IngredientStack, single_model

BOTH = Refinement("adapted", "refit")


@dataclass(frozen=True)
class Delivered:
    """A checkpoint: what it is, its refinement, and its accuracy on the held-out images."""

    row: str
    refinement: Refinement
    accuracy: float


class Comparison:
    """All rows for one shift; ``chosen`` and ``others`` are the images that choose and those that score."""

    def __init__(self, stack: IngredientStack, chosen: EncodedSet, others: EncodedSet, scratch: Path) -> None:
        self._stack, self._chosen, self._others, self._scratch = stack, chosen, others, scratch
        self._executor = LocalExecutor(Evaluator(stack, [chosen]))
        labels = np.zeros((len(chosen), chosen.space.num_classes), dtype=bool)
        labels[np.arange(len(chosen)), [accepted[0] for accepted in chosen.labels]] = True
        self._objectives = Objectives((Measure(metric="nll"),), accepted=(labels,))

    def rows(self) -> list[Delivered]:
        """From the plainest to the refined soup."""
        models = starts(len(self._stack))
        known = evaluate_refined(self._executor, models, sorted([PLAIN, ADAPTED, REFITTED, BOTH], key=simplicity))
        possible = list(known.outcomes)
        best = {each: self._best(models[:-1], known.outcomes[each]) for each in possible}
        chosen = min(possible, key=lambda each: min(map(self._loss, known.outcomes[each])))
        ingredient = min(possible, key=lambda each: min(map(self._loss, known.outcomes[each][:-1])))
        rows = [self._delivered("best ingredient", best[PLAIN], PLAIN)]
        rows += [self._delivered("soup", self._searched(PLAIN), PLAIN)]
        names = {ADAPTED: "best ingredient, adapted statistics", REFITTED: "best ingredient, refitted head"}
        rows += [self._delivered(name, best[each], each) for each, name in names.items() if each in possible]
        rows += [self._delivered("best refined ingredient", best[ingredient], ingredient)]
        return [*rows, self._delivered("refined soup", self._searched(chosen), chosen)]

    def refined_accuracies(self, soups: Sequence[Weights | LayerWeights]) -> list[float]:
        """Held-out accuracy of each soup after the refinement that has the best cross-validated likelihood for it."""
        known = evaluate_refined(self._executor, soups, sorted([PLAIN, ADAPTED, REFITTED, BOTH], key=simplicity))
        found = []
        for place, soup in enumerate(soups):
            best = min(known.outcomes, key=lambda each: self._loss(known.outcomes[each][place]))
            found.append(self._delivered("", soup, best).accuracy)
        return found

    def _best(self, models: Sequence[Weights], outcomes: Sequence[Outcome]) -> Weights:
        return models[int(np.argmin([self._loss(outcome) for outcome in outcomes[: len(models)]]))]

    def _loss(self, outcome: Outcome) -> float:
        nll = self._objectives.nll(outcome)
        return np.inf if nll is None else nll

    def _searched(self, refinement: Refinement) -> Weights:
        space, trace, request = Space(len(self._stack)), Trace(), Auto()
        strategy = KIND.start(request, space, self._objectives, 0)
        run_search(strategy, KIND.bound(request, space), self._executor, trace, trace, refinement=refinement)
        return rank(self._objectives.evaluation(soup.weights, trace.found_now[soup]) for soup in trace.soups)[0].weights

    def _delivered(self, row: str, weights: Weights | LayerWeights, refinement: Refinement) -> Delivered:
        tensors, _ = refined_soup(self._stack, weights, [self._chosen], refinement)
        path = save_model(self._scratch / "model", tensors, soup_config(self._stack.config), {})
        evaluator = Evaluator(IngredientStack.from_arrays(single_model(path.parent)), [self._others])
        [outcome] = LocalExecutor(evaluator).outcomes([EvaluationRequest((1.0,))])
        return Delivered(row, refinement, outcome.sets[0].accuracy)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a Markdown table of the shifts, and means with intervals of the differences from the refined soup."""
    import tempfile

    options = _parser().parse_args(arguments)
    data = load_idx_folder(options.data, "test")
    draws = disjoint_draws(data.labels, COUNTS, 0, classes=10)
    stack = IngredientStack.from_folders(sorted(path.parent for path in options.pantry.glob("*/model.safetensors")))
    config = DataConfig.of(stack.config)
    found: dict[str, list[Delivered]] = {}
    for shift in options.shifts:
        sets = [
            EncodedSet.of_classes(
                encode_images(shifted_images(data, rows, shift), config), data.labels[rows].tolist(), 10
            )
            for rows in draws
        ]
        with tempfile.TemporaryDirectory() as scratch:
            found[shift] = Comparison(stack, sets[0], sets[1], Path(scratch)).rows()
        print(shift, *(f"{each.row} {each.accuracy:.3f}" for each in found[shift]), sep=" | ", flush=True)
    rows = [each.row for each in next(iter(found.values()))]
    accuracies = {row: np.array([found[shift][place].accuracy for shift in found]) for place, row in enumerate(rows)}
    print(f"\n{options.pantry.name}:\n\n| | {' | '.join(found)} | mean | refined soup minus this, points | worst |")
    print("|---" * (len(found) + 4) + "|")
    for row, values in accuracies.items():
        gains = 100 * (accuracies["refined soup"] - values)
        low, high = sample_interval(gains)
        cells = [row, *(f"{100 * value:.1f}" for value in values), f"{100 * values.mean():.1f}"]
        print(
            "| "
            + " | ".join([*cells, f"{gains.mean():+.1f} ({low:+.1f} to {high:+.1f})", f"{gains.min():+.1f}"])
            + " |"
        )
    if options.json is not None:
        options.json.write_text(json.dumps({row: values.tolist() for row, values in accuracies.items()}, indent=1))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="What a job with the default preset finds beside its baselines.")
    parser.add_argument("pantry", type=Path, help="folder of ingredients")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--shifts", nargs="+", default=list(DEFAULT_SHIFTS), help="shipped, or NAME:SEVERITY")
    parser.add_argument("--json", type=Path, help="write the accuracies to this file")
    return parser


if __name__ == "__main__":
    main()
