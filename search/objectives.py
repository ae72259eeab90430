"""One number from a soup's scores on several sets."""

from collections.abc import Sequence
from typing import Literal

OverSets = Literal["mean", "worst"]


def combine(scores: Sequence[float], over_sets: OverSets = "mean") -> float:
    """The mean over sets (Croce et al., CVPR 2023, Table 1: the single soup) or the worst set's score.

    Each set counts alike, whatever its number of images. Raises ValueError when there are no scores.
    """
    if not scores:
        raise ValueError("an objective needs the score of at least one set")
    return min(scores) if over_sets == "worst" else sum(scores) / len(scores)


def combine_losses(losses: Sequence[float], over_sets: OverSets = "mean") -> float:
    """As ``combine``, for values of which less is better: the worst is the greatest."""
    return -combine([-loss for loss in losses], over_sets)
