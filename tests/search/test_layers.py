"""The ladder of layer-wise soups."""

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.special import log_softmax

from search.descent import Box
from search.evaluation import REFINEMENT_FOLDS, EvaluationRequest, LayerWeights, Outcome, Passes, SetOutcome, Weights
from search.folds import stratified_folds
from search.layers import LAYER_KINDS, Climb, Ladder, LayerFit, LayerKind, shares_of
from search.loop import UNSTEERED, Executor, OnFound, Steering
from search.objectives import Measure, Objectives

Array = NDArray[np.float64]
LAYERS, INGREDIENTS, CLASSES = 6, 3, 4
LABELS = np.random.default_rng(1).integers(0, CLASSES, 60)
FOLD_OF = stratified_folds(LABELS, REFINEMENT_FOLDS)
OBJECTIVES = Objectives((Measure(metric="nll"),))
BOX = Box(np.full(INGREDIENTS, -0.4), np.full(INGREDIENTS, 1.4))
UNIFORM = (1 / 3,) * INGREDIENTS


class LinearSoups(Executor):
    """Soups whose logits are linear in the weights of every layer, on the images ``rows``.

    ``gains`` (layers, ingredients) says how much an ingredient in a layer adds to the right logit; ``noise`` is what it
    adds to all of them.
    """

    def __init__(self, gains: Array, rows: NDArray[np.intp], noise: float) -> None:
        rng = np.random.default_rng(0)
        right = np.eye(CLASSES)[LABELS]
        parts = gains[:, :, None, None] * right + noise * rng.normal(size=(LAYERS, INGREDIENTS, *right.shape))
        self._parts, self._labels = parts[:, :, rows], LABELS[rows]

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        """See ``Executor``."""
        del steering
        on_found([(place, self.outcome(request)) for place, request in enumerate(requests)])

    def outcome(self, request: EvaluationRequest) -> Outcome:
        """The outcome of a layer-wise soup."""
        assert isinstance(request.model, LayerWeights)
        logits = np.einsum("li,linc->nc", np.array(request.model.vectors), self._parts)
        likelihoods = log_softmax(logits, axis=1)
        errors = np.eye(CLASSES)[self._labels] - np.exp(likelihoods)
        gradient = np.einsum("linc,nc->li", self._parts, errors)
        prediction = logits.argmax(axis=1).astype(np.int32)
        found = SetOutcome(
            total=len(self._labels),
            prediction=prediction,
            correct=prediction == self._labels,
            log_probability=likelihoods[np.arange(len(prediction)), self._labels].astype(np.float32),
            gradients=gradient[None] if request.gradient else None,
        )
        return Outcome("complete", (found,), Passes(len(prediction), len(prediction) if request.gradient else 0))


def executor_without(gains: Array, noise: float) -> Callable[[int | None], LinearSoups]:
    rows = np.arange(len(LABELS))
    return lambda fold: LinearSoups(gains, rows if fold is None else rows[fold != FOLD_OF], noise)


def climbed(gains: Array, noise: float = 0.3, soup: Weights = UNIFORM) -> Climb:
    return Ladder(OBJECTIVES, BOX, LAYERS).climb(executor_without(gains, noise), soup, [FOLD_OF])


@pytest.mark.parametrize("layers", [2, 3, 4, 12, 25])
@pytest.mark.parametrize("kind", LAYER_KINDS)
def test_every_layer_mixes_weights_that_sum_to_one(kind: LayerKind, layers: int) -> None:
    shares = shares_of(kind, layers)
    assert len(shares) == layers
    assert np.all(shares >= 0)
    np.testing.assert_allclose(shares.sum(axis=1), 1)
    assert np.all(shares.any(axis=0))


def test_kinds_have_the_free_vectors_that_they_say() -> None:
    assert {kind: shares_of(kind, 6).shape[1] for kind in LAYER_KINDS} == {
        "one": 1,
        "head": 2,
        "slope": 2,
        "thirds": 3,
        "blocks": 6,
    }
    np.testing.assert_array_equal(shares_of("slope", 3), [[1, 0], [0.5, 0.5], [0, 1]])
    np.testing.assert_array_equal(shares_of("head", 3)[:, 1], [0, 0, 1])


PREFERRED: dict[LayerKind, list[int]] = {
    "one": [0, 0, 0, 0, 0, 0],
    "head": [0, 0, 0, 0, 0, 2],
    "thirds": [0, 0, 1, 1, 2, 2],
    "blocks": [0, 2, 1, 0, 2, 1],
}
"""The ingredient that is right in each layer."""


@pytest.mark.parametrize("kind", PREFERRED)
def test_the_simplest_kind_that_can_hold_the_best_weights_is_taken(kind: LayerKind) -> None:
    gains = np.eye(INGREDIENTS)[PREFERRED[kind]]
    found = climbed(gains)
    assert found.taken == kind
    [best] = executor_without(gains, 0.3)(None).outcomes([EvaluationRequest(found.soups[kind])])
    [plain] = executor_without(gains, 0.3)(None).outcomes([EvaluationRequest(found.soups["one"])])
    assert best.sets[0].nll <= plain.sets[0].nll
    for vector in np.array(found.soups[kind].vectors):
        assert vector.sum() == pytest.approx(1)
        assert np.all((vector >= BOX.low - 1e-9) & (vector <= BOX.high + 1e-9))


def test_noise_alone_never_earns_a_kind() -> None:
    """Freer kinds fit the images that they see better, and others worse."""
    found = climbed(np.zeros((LAYERS, INGREDIENTS)), noise=2.0)
    fitted = executor_without(np.zeros((LAYERS, INGREDIENTS)), 2.0)(None)
    losses = [each.sets[0].nll for each in fitted.outcomes([EvaluationRequest(found.soups[k]) for k in LAYER_KINDS])]
    assert losses[-1] < losses[0] - 0.5
    assert found.taken == "one"
    assert found.soups["one"].vectors == (UNIFORM,) * LAYERS


def test_each_image_is_judged_by_a_soup_fitted_without_its_fold() -> None:
    gains, noise = np.eye(INGREDIENTS)[PREFERRED["blocks"]], 1.0
    without = executor_without(gains, noise)
    found = climbed(gains, noise)
    for fold in range(REFINEMENT_FOLDS):
        fit = LayerFit(without(fold), OBJECTIVES, BOX, LAYERS)
        soups = fit.every_kind(fit.best_soup())
        for kind in LAYER_KINDS:
            [whole] = without(None).outcomes([EvaluationRequest(soups[kind])])
            expected, crossed = (
                each.sets[0].of_images(np.flatnonzero(fold == FOLD_OF)) for each in (whole, found.crossed[kind])
            )
            np.testing.assert_array_equal(crossed.log_probability, expected.log_probability)
            np.testing.assert_array_equal(crossed.correct, expected.correct)
            np.testing.assert_array_equal(crossed.prediction, expected.prediction)


def test_a_soup_outside_the_box_is_a_beginning_too() -> None:
    soup = (-0.9, 2.0, -0.1)
    found = climbed(np.eye(INGREDIENTS)[PREFERRED["head"]], soup=soup)
    assert found.soups["one"].vectors == (soup,) * LAYERS
    assert np.isfinite([found.crossed[kind].sets[0].nll for kind in LAYER_KINDS]).all()


def test_its_cost_is_counted() -> None:
    asked: list[int] = []
    gains = np.eye(INGREDIENTS)[PREFERRED["head"]]

    class Counting(LinearSoups):
        def outcome(self, request: EvaluationRequest) -> Outcome:
            found = super().outcome(request)
            asked.append(found.passes.forward + found.passes.backward)
            return found

    rows = np.arange(len(LABELS))
    found = Ladder(OBJECTIVES, BOX, LAYERS).climb(
        lambda fold: Counting(gains, rows if fold is None else rows[fold != FOLD_OF], 0.3), UNIFORM, [FOLD_OF]
    )
    assert found.evaluations == len(asked)
    assert found.passes.forward + found.passes.backward == sum(asked)


def test_a_kind_that_gains_nothing_on_all_images_is_not_taken() -> None:
    """From a soup where the likelihood cannot be followed, though it can in every fold."""
    corner = (1.0, 0.0, 0.0)
    gains = np.eye(INGREDIENTS)[PREFERRED["blocks"]]
    without = executor_without(gains, 0.3)

    class Stuck(LinearSoups):
        def outcome(self, request: EvaluationRequest) -> Outcome:
            found = super().outcome(request)
            stuck = replace(found.sets[0], gradients=None)
            return replace(found, sets=(stuck,)) if request.gradient else found

    every = Stuck(gains, np.arange(len(LABELS)), 0.3)
    found = Ladder(OBJECTIVES, BOX, LAYERS).climb(
        lambda fold: every if fold is None else without(fold), corner, [FOLD_OF]
    )
    assert found.crossed["blocks"].sets[0].nll < found.crossed["one"].sets[0].nll - 0.1
    assert found.soups["blocks"] == found.soups["one"]
    assert found.taken == "one"
