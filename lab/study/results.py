"""The tables of a study, as figures and claims read them."""

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
    """Every soup on the images of one shift, N of them, in the order in which they were drawn.

    ``correct`` bool and ``nll`` float32 are (S, N); ``others`` has a row (N,) for each model that is no soup:
    comparison models and ensembles. The first ``selection`` images are for choosing, the others held out.
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

    ``metrics`` names the M rows: clean, one for each threat, union (right whatever the threat). ``soups`` maps soup
    weights to bool (M, N), ``models`` the names of comparison models; ``attack`` says which attack it was.
    """

    metrics: tuple[str, ...]
    soups: Mapping[tuple[float, ...], Flags]
    models: Mapping[str, Flags]
    attack: str


@dataclass(frozen=True)
class PantryResults:
    """All that was measured of one pantry; ``robust`` is None where nothing was attacked.

    ``specialty`` gives the metric that each ingredient was trained for. ``strong_severity``: shifts of at least this
    severity, and those without one, count as strong.
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
        """The row of the soup of ``weights``. Raises ValueError where it was not scored."""
        rows = np.flatnonzero(np.abs(self.soups - weights).max(axis=1) < 1e-9)
        if not len(rows):
            raise ValueError(f"no soup of weights {weights.tolist()} was scored")
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
        """The table of the clean images, where there is one."""
        return next((table for table in self.tables if table.shift.is_clean), None)

    @property
    def shifted(self) -> tuple[ShiftTable, ...]:
        """All tables but the clean images'."""
        return tuple(table for table in self.tables if not table.shift.is_clean)

    @property
    def strong(self) -> tuple[ShiftTable, ...]:
        """The tables of strong shifts; of all shifts where none is strong."""
        kept = tuple(table for table in self.shifted if (table.shift.severity or 5) >= self.strong_severity)
        return kept or self.shifted

    def restricted(self, names: set[str]) -> PantryResults:
        """The same with the shifts in ``names`` alone."""
        return replace(self, tables=tuple(table for table in self.tables if table.shift.name in names))
