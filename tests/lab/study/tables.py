"""Tables of a study made up for tests."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lab.study.results import Flags, PantryResults, RobustTable, ShiftTable
from lab.study.shifts import Shift

METRICS = ("clean", "Linf:0.1", "L1:12.0", "union")
SPECIALTY = {"linf": "Linf:0.1", "l1": "L1:12.0"}


def table_of(
    correct: Flags,
    *,
    name: str = "contrast-1",
    nll: NDArray[np.float32] | None = None,
    selection: int = 1,
    others: Mapping[str, Flags] | None = None,
    family: str = "idx",
) -> ShiftTable:
    corruption, _, severity = name.rpartition("-")
    shift = Shift(name, family, corruption or None, int(severity) if corruption else None)
    losses = np.where(correct, 0.1, 1.0).astype(np.float32) if nll is None else nll
    return ShiftTable(shift, correct, losses, others or {}, selection)


def results_of(
    tables: Sequence[ShiftTable],
    *,
    soups: NDArray[np.float64] | None = None,
    robust: RobustTable | None = None,
    specialty: Mapping[str, str] = SPECIALTY,
    **changes: Any,
) -> PantryResults:
    points = np.eye(len(specialty)) if soups is None else soups
    about: dict[str, Any] = {"name": "made-up", "architecture": "A", "strong_severity": 4} | changes
    return PantryResults(
        specialty=specialty,
        soups=points,
        on_lattice=np.ones(len(points), dtype=bool),
        tables=tuple(tables),
        robust=robust,
        **about,
    )


def outcomes(accuracy: float, images: int = 400, seed: int = 0) -> Flags:
    """As many images right as ``accuracy`` says, in a random order."""
    flags = np.arange(images) < round(accuracy * images)
    return np.random.default_rng(seed).permutation(flags)
