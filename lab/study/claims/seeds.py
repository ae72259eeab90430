"""Claims over several training seeds of one architecture."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from lab.study.averages import Estimate
from lab.study.claims.rule import PaperClaim
from search.resampling import sample_interval


def over_seeds(architecture: str, claims: Sequence[Sequence[PaperClaim]]) -> list[PaperClaim]:
    """One claim from several pantries' claims, a sequence a pantry: the mean and its interval over seeds (Student's t).

    Claims that were not measured for every pantry are left out. With two or three seeds such intervals are wide.
    """
    by_number: dict[str, list[PaperClaim]] = {}
    for claim in (claim for each in claims for claim in each):
        if not math.isnan(claim.estimate.value):
            by_number.setdefault(claim.number, []).append(claim)
    whole = [found for found in by_number.values() if len(found) == len(claims)]
    return [_mean(architecture, found) for found in whole]


def _mean(architecture: str, claims: Sequence[PaperClaim]) -> PaperClaim:
    values = np.array([claim.estimate.value for claim in claims])
    estimate = Estimate.of(float(values.mean()), sample_interval(values))
    note = ", ".join(f"{claim.pantry} {claim.estimate.value:+.2f}" for claim in claims)
    return replace(claims[0], pantry=f"{architecture}, {len(claims)} seeds", estimate=estimate, note=note)
