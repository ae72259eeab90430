"""Layer-wise soups: a ladder of kinds with ever more weights, climbed as far as cross-validation goes along."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from search.descent import Array, Box, Descent, Differentiated
from search.evaluation import EvaluationRequest, LayerWeights, Outcome, Passes, SetOutcome, Weights
from search.loop import Executor
from search.objectives import Objectives
from search.strategies.bayes import starts

LayerKind = Literal["one", "head", "slope", "thirds", "blocks"]
"""How the weights of the layers hang together, from the fewest free numbers to the most.

``one``: the same weights everywhere, an ordinary soup. ``head``: the last layer has its own. ``slope``: linear in
depth, between two vectors. ``thirds``: early, middle and late layers each have their own. ``blocks``: every layer has.
"""
LAYER_KINDS: tuple[LayerKind, ...] = get_args(LayerKind)
MOST_STEPS = 30
"""Most steps of a descent."""
TOLERANCE = 1e-4
"""A descent ends when it expects to gain no more, in nats."""
LEAST_GAIN = 1e-3
"""So many nats at least a freer kind must gain: less may be what descents leave undone."""

ExecutorWithout = Callable[[int | None], Executor]
"""Evaluates soups on the images that are not in a fold, or on all images for None."""


def shares_of(kind: LayerKind, layers: int) -> Array:
    """How much of each of a kind's k vectors the weights of every layer have, float64 (layers, k)."""
    depth = np.arange(layers)
    if kind == "slope":
        share = depth / max(layers - 1, 1)
        return np.stack([1 - share, share], axis=1)
    groups: dict[LayerKind, NDArray[np.intp]] = {
        "one": 0 * depth,
        "head": (depth == layers - 1).astype(np.intp),
        "thirds": 3 * depth // layers,
        "blocks": depth,
    }
    return np.eye(groups[kind].max() + 1)[groups[kind]]


class LayerFit:
    """Fits soups of every kind to the images of ``executor`` by descents of the likelihood within ``box``.

    The loss is the mean over the first objective's sets, in nats.
    ``evaluations`` counts soups, ``passes`` what they took.
    """

    def __init__(self, executor: Executor, objectives: Objectives, box: Box, layers: int) -> None:
        self._executor = executor
        self._objectives = objectives
        self._box = box
        self._shares = {kind: shares_of(kind, layers) for kind in LAYER_KINDS}
        self.evaluations = 0
        self.passes = Passes()

    def best_soup(self) -> Array:
        """The ordinary soup, float64 (n,), that a descent finds from the best of ingredients and uniform soup."""
        points = [point[None] for point in self._box.nearest(np.array(starts(len(self._box.low))))]
        known = [each for each in self._at([("one", point) for point in points]) if each is not None]
        if not known:
            return np.asarray(points[-1][0])
        best = min(known, key=lambda each: each.value)
        return np.asarray(self._descended({"one": best}, known)["one"][0])

    def every_kind(self, soup: Array) -> dict[LayerKind, LayerWeights]:
        """The soup of each kind: ``one`` is ``soup``, float64 (n,), from which the others descend side by side."""
        points = {kind: np.repeat(soup[None], self._shares[kind].shape[1], axis=0) for kind in LAYER_KINDS}
        freer = [kind for kind in LAYER_KINDS if kind != "one"]
        found = zip(freer, self._at([(kind, points[kind]) for kind in freer]), strict=True)
        points |= self._descended({kind: each for kind, each in found if each is not None})
        return {kind: self._soup(kind, point) for kind, point in points.items()}

    def _descended(
        self, begun: Mapping[LayerKind, Differentiated], known: Sequence[Differentiated] = ()
    ) -> dict[LayerKind, Array]:
        """The best vectors (k, n) of each kind that descents from ``begun`` find."""
        seen = {kind: list(known) or [start] for kind, start in begun.items()}
        descents = {kind: Descent(self._box, start, seen[kind], TOLERANCE) for kind, start in begun.items()}
        for _ in range(MOST_STEPS):
            steps = {kind: descent.propose(seen[kind]) for kind, descent in descents.items()}
            asked = [(kind, point) for kind, point in steps.items() if point is not None]
            if not asked:
                break
            for (kind, _), found in zip(asked, self._at(asked), strict=True):
                seen[kind] += [] if found is None else [found]
                descents[kind].learn(found)
        return {kind: descent.best.point for kind, descent in descents.items()}

    def _at(self, asked: Sequence[tuple[LayerKind, Array]]) -> list[Differentiated | None]:
        """The loss of the soups of each kind and its vectors (k, n); None where it cannot be followed."""
        requests = [EvaluationRequest(self._soup(*each), gradient=True) for each in asked]
        outcomes = self._executor.outcomes(requests)
        self.evaluations += len(requests)
        self.passes = sum((outcome.passes for outcome in outcomes), self.passes)
        return [self._differentiated(*each, outcome) for each, outcome in zip(asked, outcomes, strict=True)]

    def _soup(self, kind: LayerKind, point: Array) -> LayerWeights:
        return LayerWeights(tuple(tuple(map(float, row)) for row in self._shares[kind] @ point))

    def _differentiated(self, kind: LayerKind, point: Array, outcome: Outcome) -> Differentiated | None:
        value = self._objectives.nll(outcome)
        sets = self._objectives.first.of_sets(outcome.sets)
        if value is None or any(each.gradients is None for each in sets):
            return None
        gradient = -self._shares[kind].T @ np.mean([each.gradient / each.seen for each in sets], axis=0)
        return Differentiated(point, value, gradient) if np.isfinite([value, *gradient.ravel()]).all() else None


@dataclass(frozen=True)
class Climb:
    """How far up the ladder cross-validation goes along.

    ``soups`` are those fitted to all images, ``crossed`` their cross-validated outcomes: each image is judged by a soup
    fitted without its fold. ``taken`` is the kind that the rule takes; ``evaluations`` and ``passes`` are its cost.
    """

    taken: LayerKind
    soups: Mapping[LayerKind, LayerWeights]
    crossed: Mapping[LayerKind, Outcome]
    evaluations: int
    passes: Passes


@dataclass(frozen=True)
class Ladder:
    """The kinds of soups with so many ``layers``, whose weights lie within ``box``."""

    objectives: Objectives
    box: Box
    layers: int

    def climb(
        self, executor_without: ExecutorWithout, soup: Weights, folds: Sequence[NDArray[np.intp] | None]
    ) -> Climb:
        """Fit soups of every kind, beginning from ``soup``, and cross-validate them.

        ``folds`` holds the fold of each image of a set, intp (images,), and None for a set without labels, from which
        nothing is learnt. The rule: going through ``LAYER_KINDS``, a kind is taken in place of the one taken before it
        if it lowers the cross-validated loss by more than the standard error of the mean paired difference over images,
        and by ``LEAST_GAIN``. By the mean over sets it must be better than ``one``, too, also as fitted to all images.

        Raises what the executors raise.
        """
        whole = executor_without(None)
        low, high = np.minimum(self.box.low, soup), np.maximum(self.box.high, soup)
        fits = [LayerFit(whole, self.objectives, Box(low, high), self.layers)]
        soups = fits[0].every_kind(np.array(soup))
        outcomes = [whole.outcomes([EvaluationRequest(soups[kind]) for kind in LAYER_KINDS])]
        for fold in range(1 + max(int(each.max()) for each in folds if each is not None)):
            fits.append(LayerFit(executor_without(fold), self.objectives, self.box, self.layers))
            found = fits[-1].every_kind(fits[-1].best_soup())
            outcomes.append(whole.outcomes([EvaluationRequest(found[kind]) for kind in LAYER_KINDS]))
        crossed = {
            kind: _crossed(of_all, of_folds, folds)
            for kind, of_all, *of_folds in zip(LAYER_KINDS, *outcomes, strict=True)
        }
        judging = [outcome.passes for each in outcomes for outcome in each]
        return Climb(
            taken=_taken(
                {kind: _losses(self.objectives, crossed[kind]) for kind in self._better(outcomes[0], crossed)}
            ),
            soups=soups,
            crossed=crossed,
            evaluations=sum(fit.evaluations for fit in fits) + len(judging),
            passes=sum([*(fit.passes for fit in fits), *judging], Passes()),
        )

    def _better(self, fitted: Sequence[Outcome], crossed: Mapping[LayerKind, Outcome]) -> list[LayerKind]:
        """``one``, and the kinds whose losses, of the soup fitted to all images and cross-validated, are less."""
        ours = dict(zip(LAYER_KINDS, map(self.objectives.nll, fitted), strict=True))
        theirs = {kind: self.objectives.nll(outcome) for kind, outcome in crossed.items()}

        def gains(losses: Mapping[LayerKind, float | None], kind: LayerKind) -> bool:
            own, plain = losses[kind], losses["one"]
            return own is not None and plain is not None and plain - own > LEAST_GAIN

        return [kind for kind in LAYER_KINDS if kind == "one" or (gains(ours, kind) and gains(theirs, kind))]


def _crossed(whole: Outcome, judged: Sequence[Outcome], folds: Sequence[NDArray[np.intp] | None]) -> Outcome:
    """Of each image the outcome of ``judged`` that its fold names, of sets without folds ``whole``."""
    status = next((each.status for each in judged if each.status != "complete"), whole.status)
    sets = [
        source if of_images is None else _of_folds([each.sets[place] for each in judged], of_images)
        for place, (source, of_images) in enumerate(zip(whole.sets, folds, strict=True))
    ]
    return replace(whole, status=status, sets=tuple(sets))


def _of_folds(judged: Sequence[SetOutcome], folds: NDArray[np.intp]) -> SetOutcome:
    rows = np.arange(len(folds))
    first = judged[0]
    return SetOutcome(
        total=first.total,
        prediction=np.stack([each.prediction for each in judged])[folds, rows],
        correct=np.stack([each.right for each in judged])[folds, rows],
        log_probability=np.stack([each.log_probability for each in judged if each.log_probability is not None])[
            folds, rows
        ],
    )


def _losses(objectives: Objectives, outcome: Outcome) -> Array:
    """The loss of each image of the first objective's sets; infinite where logits were not finite."""
    sets = objectives.first.of_sets(outcome.sets)
    found = np.concatenate([each.log_probability for each in sets if each.log_probability is not None])
    return np.full(len(found), np.inf) if outcome.status != "complete" else -found.astype(np.float64)


def _taken(losses: Mapping[LayerKind, Array]) -> LayerKind:
    taken = LAYER_KINDS[0]
    for kind in losses:
        gains = losses[taken] - losses[kind]
        error = gains.std(ddof=1) / np.sqrt(len(gains))
        if np.isfinite(gains).all() and gains.mean() > max(error, LEAST_GAIN):
            taken = kind
    return taken
