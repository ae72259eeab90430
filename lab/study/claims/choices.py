"""The best of many, without the bias of choosing and scoring on the same images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lab.study.averages import Estimate
from lab.study.results import Flags
from search.resampling import shared_resamples


@dataclass(frozen=True)
class Contest:
    """``ours`` (K, N) against ``theirs`` (L, N), outcomes of soups on the same N images; ``label`` names it."""

    label: str
    ours: Flags
    theirs: Flags


def best_contest(contests: Sequence[Contest]) -> tuple[Estimate, tuple[str, str]]:
    """By how much our best beats their best, in the contest where it does so most.

    The contest and both sides' soups are chosen on the even images and scored on the odd ones, and the other way round;
    the figure is the mean of both. It is therefore an unbiased estimate of the gain from such a choice, however many
    candidates there were. Returns it with the contests that the two halves chose. Raises ValueError without contests.
    """
    if not contests:
        raise ValueError("nothing to choose from")
    images = contests[0].ours.shape[1]
    even = np.arange(images) % 2 == 0
    differences = np.zeros(images)
    chosen = []
    for choosing in (even, ~even):
        contest, ours, theirs = max((_best(contest, choosing) for contest in contests), key=lambda found: found[0])[1]
        differences[~choosing] = contest.ours[ours, ~choosing].astype(float) - contest.theirs[theirs, ~choosing]
        chosen.append(contest.label)
    interval = shared_resamples(images).interval(differences)
    return Estimate.of(float(differences.mean()), interval), (chosen[0], chosen[1])


def _best(contest: Contest, choosing: NDArray[np.bool_]) -> tuple[float, tuple[Contest, int, int]]:
    ours, theirs = contest.ours[:, choosing].mean(axis=1), contest.theirs[:, choosing].mean(axis=1)
    mine, yours = int(ours.argmax()), int(theirs.argmax())
    return float(ours[mine] - theirs[yours]), (contest, mine, yours)
