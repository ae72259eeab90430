"""What layer-wise soups are worth on other images, and whether cross-validation knows.

    python -m benchmarks.search.layers examples/pantries/fashion-resnet [--images 100] [--shifts frost:4 ...]

A layer-wise soup has weights of its own in every layer l of L. Five kinds are fitted by NLL, each with k vectors v of
soup weights, of which every layer mixes its own by fixed shares, w_l = sum_j shares[l, j] v_j:

* one: the same vector everywhere, which is an ordinary soup;
* head: one vector for the classifier, one for all other layers;
* slope: w_l = (1 - t) v_1 + t v_2 with depth t = l / (L - 1), from the stem to the classifier;
* thirds: one vector for early, one for middle, and one for late layers, where 3 l / L is rounded down;
* blocks: one vector for each layer.

``one`` descends from the best of the ingredients and the uniform soup; the others from the best soup of ``one``. The
same is done without each of five folds of the images, which gives every image an NLL by a soup fitted without it.

The rule, fixed before there were results: going through the kinds in this order, one is taken in place of the kind
taken before it if it lowers the cross-validated NLL by more than the standard error of the mean paired difference over
images. The others of the images score all kinds, and the kind that the rule takes.
"""

import argparse
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.search.record import DEFAULT_SHIFTS, shifted_images
from lab.data.draws import disjoint_draws
from lab.data.idx import load_idx_folder
from search.descent import Box, Descent, Differentiated
from search.evaluation import EvaluationRequest, LayerWeights, SetOutcome
from search.folds import stratified_folds
from search.resampling import sample_interval
from search.strategies.bayes import starts
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack

Array = NDArray[np.float64]
FOLDS = 5
MOST_STEPS = 30
TOLERANCE = 1e-4
OTHERS = 600
ONE = "one"
TAKEN = "taken by the rule"


def kinds_of(layers: int) -> dict[str, Array]:
    """The shares of each kind, (layers, k), in the order in which they are tried."""
    depth = np.arange(layers)
    share = depth / (layers - 1)
    groups = {ONE: 0 * depth, "head": (depth == layers - 1).astype(int), "thirds": 3 * depth // layers, "blocks": depth}
    kinds = {name: np.eye(group.max() + 1)[group] for name, group in groups.items()}
    return {
        ONE: kinds[ONE],
        "head": kinds["head"],
        "slope": np.stack([1 - share, share], axis=1),
        "thirds": kinds["thirds"],
        "blocks": kinds["blocks"],
    }


class Fit:
    """Layer-wise soups fitted to the images of one evaluator; ``evaluations`` counts its soups."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._layers = evaluator.soup.stack.layout.layers
        size = len(evaluator.soup.stack)
        self._box = Box(np.full(size, -0.4), np.full(size, 1.4))
        self.evaluations = 0

    def every_kind(self) -> dict[str, Array]:
        """The weights (layers, n) of each kind."""
        kinds = kinds_of(self._layers)
        begun = [self._at(np.array([start]), kinds[ONE]) for start in starts(len(self._box.low))]
        known = [each for each in begun if each is not None]
        vector = self._descend(min(known, key=lambda each: each.value), known, kinds[ONE])
        found = {}
        for name, shares in kinds.items():
            point = np.repeat(vector, shares.shape[1], axis=0)
            if name != ONE and (start := self._at(point, shares)) is not None:
                point = self._descend(start, [start], shares)
            found[name] = shares @ point
        return found

    def _descend(self, start: Differentiated, known: Sequence[Differentiated], shares: Array) -> Array:
        descent, known = Descent(self._box, start, known, TOLERANCE), list(known)
        for _ in range(MOST_STEPS):
            if (point := descent.propose(known)) is None:
                break
            found = self._at(point, shares)
            known += [] if found is None else [found]
            descent.learn(found)
        return descent.best.point

    def _at(self, point: Array, shares: Array) -> Differentiated | None:
        """The mean NLL of the layer-wise soup of the vectors ``point`` (k, n); None where it is not finite."""
        self.evaluations += 1
        outcome = self._evaluator.answer(EvaluationRequest(layer_weights(shares @ point), gradient=True))
        [found] = outcome.sets
        if outcome.status != "complete":
            return None
        gradient = -shares.T @ found.gradient / found.seen
        return Differentiated(point, found.nll, gradient) if np.isfinite(gradient).all() else None


def layer_weights(weights: Array) -> LayerWeights:
    """``weights`` (layers, n) as a request takes them."""
    return LayerWeights(tuple(tuple(map(float, row)) for row in weights))


@dataclass(frozen=True)
class Judged:
    """One kind of soup on one shift."""

    shift: str
    kind: str
    nll: float
    """On the images that it was fitted to."""
    crossed_nll: float
    other_nll: float
    other_accuracy: float


def judged(stack: IngredientStack, chosen: EncodedSet, others: EncodedSet, shift: str) -> tuple[list[Judged], int]:
    """Every kind on one shift and what the rule takes, and how many soups were evaluated."""
    whole = Evaluator(stack, [chosen])
    judge = Evaluator(stack, [others], soup=whole.soup)
    fit = Fit(whole)
    soups, evaluations = fit.every_kind(), 0
    folds = stratified_folds([accepted[0] for accepted in chosen.labels], FOLDS)
    crossed = {name: np.zeros(len(chosen)) for name in soups}
    for fold in range(FOLDS):
        inside = Fit(Evaluator(stack, [part(chosen, folds != fold)], soup=whole.soup))
        outside = Evaluator(stack, [part(chosen, folds == fold)], soup=whole.soup)
        for name, weights in inside.every_kind().items():
            crossed[name][folds == fold] = losses(outside, weights)
        evaluations += inside.evaluations
    taken = ONE
    for name in soups:
        gains = crossed[taken] - crossed[name]
        if gains.mean() > gains.std(ddof=1) / np.sqrt(len(gains)):
            taken = name
    rows = []
    for name, weights in (*soups.items(), (TAKEN, soups[taken])):
        held_out = outcome_of(judge, weights)
        nll, crossed_nll = losses(whole, weights).mean(), crossed[taken if name == TAKEN else name].mean()
        rows.append(Judged(shift, name, float(nll), float(crossed_nll), held_out.nll, held_out.accuracy))
    print(
        f"{shift}: took {taken}",
        *(f"{each.kind} {each.nll:.3f} {each.crossed_nll:.3f} {each.other_nll:.3f}" for each in rows),
        sep=" | ",
        flush=True,
    )
    return rows, fit.evaluations + evaluations


def outcome_of(evaluator: Evaluator, weights: Array) -> SetOutcome:
    """The layer-wise soup of ``weights`` (layers, n) on all images."""
    [found] = evaluator.answer(EvaluationRequest(layer_weights(weights))).sets
    return found


def losses(evaluator: Evaluator, weights: Array) -> Array:
    """The NLL of each image."""
    found = outcome_of(evaluator, weights).log_probability
    return -np.asarray(found, dtype=np.float64)


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
    print("| kind | NLL, fitted | NLL, cross-validated | NLL, held out | accuracy, held out, points | worst |")
    print("|---" * 6 + "|")
    for kind in dict.fromkeys(each.kind for each in found):
        print(_row(found, kind))


def _row(found: Sequence[Judged], kind: str) -> str:
    ours, plain = ([each for each in found if each.kind == name] for name in (kind, ONE))

    def differences(read: Callable[[Judged], float]) -> Array:
        return np.array([read(mine) - read(theirs) for mine, theirs in zip(ours, plain, strict=True)])

    points = 100 * differences(lambda each: each.other_accuracy)
    cells = [
        f"{differences(lambda each: each.nll).mean():+.3f}",
        f"{differences(lambda each: each.crossed_nll).mean():+.3f}",
        _with_interval(differences(lambda each: each.other_nll), 3),
        _with_interval(points, 1),
        f"{points.min():+.1f}",
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
