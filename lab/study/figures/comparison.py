"""The single soup against dataset-specific soups, ensembles and other models (Croce et al., Table 1)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lab.study.averages import Average, Outcomes
from lab.study.results import PantryResults, ShiftTable


@dataclass(frozen=True)
class ComparisonCell:
    """A method's mean accuracy on the held-out images of a group of sets with equal weight."""

    pantry: str
    method: str
    group: str
    sets: int
    accuracy: float
    low: float
    high: float


def comparison_cells(results: PantryResults, outcomes: Mapping[str, Outcomes]) -> list[ComparisonCell]:
    """Table 1: clean, each severity, strong shifts, all shifts."""
    cells = []
    for group, tables in _groups(results).items():
        average = Average(tables)
        for method, outcome in outcomes.items():
            estimate = average.estimate(outcome)
            bounds = (estimate.value, estimate.low, estimate.high)
            cells.append(ComparisonCell(results.name, method, group, len(tables), *bounds))
    return cells


def _groups(results: PantryResults) -> dict[str, tuple[ShiftTable, ...]]:
    severities = sorted({table.shift.severity for table in results.shifted if table.shift.severity is not None})
    groups = {"clean": tuple(table for table in results.tables if table.shift.is_clean)}
    for severity in severities:
        groups[f"severity {severity}"] = tuple(t for t in results.shifted if t.shift.severity == severity)
    groups["other sets"] = tuple(table for table in results.shifted if table.shift.severity is None)
    groups["strong shifts"] = results.strong
    groups["all shifts"] = results.shifted
    return {name: tables for name, tables in groups.items() if tables}
