"""Which images to label next: those whose labels would tell most about which soup is best."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ERROR = 0.3
"""How often the best soup is taken to be wrong."""
MOST_SOUPS = 60
"""More soups hardly change the images, and make it slower in proportion to their square."""
MOST_IMAGES = 1000
"""Of more images, those on which soups differ most."""


@dataclass(frozen=True)
class LabelSuggestion:
    """An image to label: its place, and the soups that predict each class, most first, as (class, soups).

    ``information`` is what this label and those suggested before are expected to tell about the best soup, in nats.
    """

    image: int
    information: float
    votes: tuple[tuple[int, int], ...]


def suggest_labels(
    predictions: NDArray[np.integer], count: int, *, classes: int, right: Sequence[int] = (), labelled: int = 0
) -> list[LabelSuggestion]:
    """The ``count`` images, or as many as there are, whose labels tell soups apart best, in the order to label them.

    ``predictions`` holds the class that each soup predicts for each image, (soups, images). ``right`` says how many of
    ``labelled`` other images each soup is right on.

    This is Model Selector (Okanovic et al., All models are wrong, some are useful: Model selection with limited labels,
    AISTATS 2025): the best soup is right with probability 1 - ``ERROR``, otherwise any other class is equally likely,
    so that labels make soups likely by how often they are right; the next label is the one after which the entropy of
    that belief is least. As all images are chosen before any is labelled, the belief is followed for each soup as if it
    were the best and right on all of them, and its entropy averaged over soups by what is believed now.
    """
    soups = len(predictions)
    log_right, log_wrong = np.log(1 - ERROR), np.log(ERROR / max(classes - 1, 1))
    start = np.zeros(soups)
    if labelled:
        counts = np.asarray(right, dtype=np.float64)
        start = counts * log_right + (labelled - counts) * log_wrong
    belief = np.exp(start - start.max())
    belief /= belief.sum()
    logs = np.tile(start, (soups, 1))
    agree = predictions[:, None, :] == predictions[None, :, :]
    left, before = _contested(predictions), _entropy(start[None])[0]
    suggested: list[LabelSuggestion] = []
    while left and len(suggested) < count:
        after = logs[:, :, None] + np.where(agree[:, :, left], log_right, log_wrong)
        expected = belief @ _entropy(np.moveaxis(after, 1, -1))
        best = int(np.round(expected, 9).argmin())
        image = left.pop(best)
        logs = after[:, :, best]
        suggested.append(LabelSuggestion(image, float(before - expected[best]), _votes(predictions[:, image])))
    return suggested


def _contested(predictions: NDArray[np.integer]) -> list[int]:
    """The images, at most ``MOST_IMAGES``, on which predictions differ most, in their order."""
    votes = [np.unique(column, return_counts=True)[1] for column in predictions.T]
    doubt = np.round([_entropy(np.log(counts)[None])[0] for counts in votes], 9)
    return sorted(np.argsort(-doubt, kind="stable")[:MOST_IMAGES].tolist())


def _entropy(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """In nats, of the distributions in the last axis, which is not normalised."""
    shares = np.exp(logs - logs.max(axis=-1, keepdims=True))
    shares /= shares.sum(axis=-1, keepdims=True)
    return np.asarray(-(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=-1))


def _votes(predictions: NDArray[np.integer]) -> tuple[tuple[int, int], ...]:
    classes, counts = np.unique(predictions, return_counts=True)
    pairs = zip(classes.tolist(), counts.tolist(), strict=True)
    return tuple(sorted(pairs, key=lambda pair: (-pair[1], pair[0])))
