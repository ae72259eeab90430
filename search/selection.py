"""What choosing the best of many soups does to its score."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from search.evaluation import Outcome, Weights, joined
from search.folds import stratified_folds
from search.objectives import Objectives
from search.ranking import rank

CHOICE_FOLDS = 10
"""Into how many parts images are cut to cross-validate the choice of a soup."""
MOST_SOUPS = 10_000
"""More are not compared: it would take longer than many a search."""

Tried = Sequence[tuple[Weights, Outcome]]


def cross_validated(objectives: Objectives, tried: Tried, folds: int = CHOICE_FOLDS) -> Outcome | None:
    """The outcome in which each image is that of the soup chosen without it, and without all images of its fold.

    The best of many soups owes part of its score to luck with the images that chose it. This outcome does not: its
    score is what a soup chosen so from ``folds - 1`` of ``folds`` parts of the images gets on other images (Stone,
    Cross-validatory choice and assessment of statistical predictions, JRSS B 1974). A search whose proposals depend on
    what it found has seen all images when it proposes; that is not corrected.

    Each fold has its share of every class of each set; where the labels of a set are not known, image i is in fold i
    modulo ``folds``. None when no soup can be chosen in some fold, a set has fewer labelled images than folds, soups
    are more than ``MOST_SOUPS``, or they are chosen by mutual information, which no mean over images is.
    """
    if objectives.reads_logits:
        return None
    valid = [(weights, outcome) for weights, outcome in tried if objectives.is_valid(outcome)]
    sizes = [each.seen for each in valid[0][1].sets] if valid else []
    labelled = [each.seen for each in valid[0][1].sets if each.correct is not None] if valid else []
    if not labelled or min(labelled) < folds or len(valid) > MOST_SOUPS:
        return None
    valid = [(weights, outcome.without_logits()) for weights, outcome in valid]
    folds_of = [stratified_folds(labels, folds) for labels in _labels(objectives, sizes)]
    parts = []
    for fold in range(folds):
        kept = [np.flatnonzero(each != fold) for each in folds_of]
        chosen = rank(objectives.evaluation(weights, outcome.of_images(kept)) for weights, outcome in valid)[0]
        best = next(outcome for weights, outcome in valid if weights == chosen.weights)
        parts.append(best.of_images([np.flatnonzero(each == fold) for each in folds_of]))
    order = [np.argsort(np.argsort(each, kind="stable"), kind="stable") for each in folds_of]
    return joined(parts).of_images(order)


def _labels(objectives: Objectives, sizes: Sequence[int]) -> list[NDArray[np.intp]]:
    """One label for each image of sets of these sizes, the first that it accepts; all zero where they are not known."""
    known = objectives.accepted or (None,) * len(sizes)
    pairs = zip(known, sizes, strict=True)
    return [np.zeros(size, np.intp) if accepted is None else accepted.argmax(axis=1) for accepted, size in pairs]
