"""The tables of a study, in the form that figures and claims read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lab.study.shifts import Shift

Flags = NDArray[np.bool_]
UNION = "union"
SOFTMAX = "softmax ensemble of "
LOGITS = "logit ensemble of "


@dataclass(frozen=True)
class ShiftTable:
    """Every soup on the N images of one shift, in the order in which the images were drawn.

    ``correct`` bool and ``nll`` float32 are (S, N). ``others`` has a row (N,) for each model that is not a soup:
    comparison models and ensembles. The first ``selection`` images are for choosing, the others are held out.
    """

    shift: Shift
    correct: Flags
    nll: NDArray[np.float32]
    others: Mapping[str, Flags]
    selection: int

    @property
    def held_out(self) -> Flags:
        """``correct`` on the images held out, (S, N - selection)."""
        return self.correct[:, self.selection :]

    def other_held_out(self, name: str) -> Flags:
        """The row of ``name`` in ``others`` on the images held out."""
        return self.others[name][self.selection :]


@dataclass(frozen=True)
class RobustTable:
    """Soups and models under attack on N images.

    ``metrics`` names the M rows: clean, one for each threat, and the union (right whatever the threat). ``soups`` maps
    soup weights to bool (M, N), ``models`` the names of comparison models. ``attack`` names the attack.
    """

    metrics: tuple[str, ...]
    soups: Mapping[tuple[float, ...], Flags]
    models: Mapping[str, Flags]
    attack: str


@dataclass(frozen=True)
class PantryResults:
    """Everything measured for one pantry; ``robust`` is None if nothing was attacked.

    ``specialty`` gives the metric that each ingredient was trained for. Shifts with a severity of at least
    ``strong_severity``, and those without a severity, count as strong.
    """

    name: str
    architecture: str
    specialty: Mapping[str, str]
    soups: NDArray[np.float64]
    on_lattice: Flags
    tables: tuple[ShiftTable, ...]
    robust: RobustTable | None
    strong_severity: int

    @property
    def ingredients(self) -> tuple[str, ...]:
        """Names in order."""
        return tuple(self.specialty)

    def row_of(self, weights: NDArray[np.float64]) -> int:
        """The row of the soup with ``weights``. Raises ValueError if it was not scored."""
        rows = np.flatnonzero(np.abs(self.soups - weights).max(axis=1) < 1e-9)
        if not len(rows):
            raise ValueError(f"no soup with the weights {weights.tolist()} was scored")
        return int(rows[0])

    @property
    def ingredient_rows(self) -> list[int]:
        """The rows of the ingredients themselves."""
        return [self.row_of(row) for row in np.eye(len(self.ingredients))]

    @property
    def uniform_row(self) -> int:
        """The row of the uniform soup."""
        count = len(self.ingredients)
        return self.row_of(np.full(count, 1 / count))

    @property
    def clean(self) -> ShiftTable | None:
        """The table of the clean images, if there is one."""
        return next((table for table in self.tables if table.shift.is_clean), None)

    @property
    def shifted(self) -> tuple[ShiftTable, ...]:
        """All tables except the clean images'."""
        return tuple(table for table in self.tables if not table.shift.is_clean)

    @property
    def strong(self) -> tuple[ShiftTable, ...]:
        """The tables of strong shifts, or of all shifts if none is strong."""
        kept = tuple(table for table in self.shifted if (table.shift.severity or 5) >= self.strong_severity)
        return kept or self.shifted

    def restricted(self, names: set[str]) -> PantryResults:
        """The same results with only the shifts in ``names``."""
        return replace(self, tables=tuple(table for table in self.tables if table.shift.name in names))
