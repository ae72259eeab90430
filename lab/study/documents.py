"""A study's numbers as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Sequence
from dataclasses import fields
from typing import Any, get_origin, get_type_hints

import numpy as np

from lab.study.analysis import ModelRobustness, PantryAnalysis
from lab.study.claims.rule import PaperClaim
from lab.study.config import StudyConfig
from lab.study.figures.comparison import ComparisonCell
from lab.study.figures.composition import Composition
from lab.study.figures.curves import CurvePoint
from lab.study.figures.few_shot import FewShotPoint
from lab.study.figures.shifts import ShiftScore
from lab.study.figures.simplices import SimplexPoint

DIGITS = 5
TABLES: dict[str, type[Any]] = {
    "curves": CurvePoint,
    "simplices": SimplexPoint,
    "models": ModelRobustness,
    "shifts": ShiftScore,
    "comparison": ComparisonCell,
    "few_shot": FewShotPoint,
    "compositions": Composition,
}
"""What a row of each table is."""

CLAIM_COLUMNS = ["number", "claim", "measure", "pantry", "value", "low", "high", "unit", "rule", "verdict", "note"]


def tables(analyses: Sequence[PantryAnalysis], claims: Sequence[PaperClaim]) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table by name, over all pantries."""
    named = {name: [record(row) for each in analyses for row in getattr(each, name)] for name in TABLES}
    return {"claims": [claim_record(claim) for claim in claims], **named}


def numbers_json(config: StudyConfig, rows: dict[str, list[dict[str, Any]]]) -> str:
    """All tables and what they were measured with."""
    about = config.model_dump(mode="json", exclude={"pantries", "data"})
    about["data"] = config.data.model_dump(mode="json", exclude={"idx", "sets"})
    return json.dumps({"study": about, **rows}, indent=None, separators=(",", ":"), allow_nan=False) + "\n"


def columns_of(table: str) -> list[str]:
    """The columns of a table, which it has without any row too; arrays, which are only worked with, are none."""
    if table not in TABLES:
        return CLAIM_COLUMNS
    hints = get_type_hints(TABLES[table])
    return [field.name for field in fields(TABLES[table]) if get_origin(hints[field.name]) is not np.ndarray]


def to_csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """A table with its header; lists become numbers with spaces between."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def to_markdown(claims: Sequence[dict[str, Any]]) -> str:
    """The table of claims, for who reads no HTML."""
    head = ["claim", "pantry", "measured", "holds if", "verdict"]
    lines = [head, ["---"] * len(head)]
    for claim in claims:
        stated = f"{claim['number']} {claim['claim']}: {claim['measure']}"
        lines.append([stated, claim["pantry"], _measured(claim), claim["rule"], f"**{claim['verdict']}**"])
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _measured(claim: dict[str, Any]) -> str:
    value, low, high = (claim[key] for key in ("value", "low", "high"))
    if value is None:
        return "–"
    interval = "" if low is None or high is None else f" ({low:+.2f} to {high:+.2f})"
    note = f"; {claim['note']}" if claim["note"] else ""
    return f"{value:+.2f} {claim['unit']}".rstrip() + interval + note


def record(row: Any) -> dict[str, Any]:
    """A dataclass as JSON values, numbers rounded; arrays, which are only worked with, are left out."""
    values = {field.name: getattr(row, field.name) for field in fields(row)}
    return {name: _plain(value) for name, value in values.items() if not isinstance(value, np.ndarray)}


def claim_record(claim: PaperClaim) -> dict[str, Any]:
    """A claim with its verdict."""
    estimate = claim.estimate
    return {
        "number": claim.number,
        "claim": claim.statement,
        "measure": claim.measure,
        "pantry": claim.pantry,
        "value": _plain(estimate.value),
        "low": _plain(estimate.low),
        "high": _plain(estimate.high),
        "unit": claim.unit,
        "rule": f"{claim.side} {claim.threshold:g}",
        "verdict": claim.verdict,
        "note": claim.note,
    }


def _plain(value: Any) -> Any:
    if isinstance(value, float):
        return round(value, DIGITS) + 0.0 if math.isfinite(value) else None
    if isinstance(value, tuple):
        return [_plain(each) for each in value]
    return value


def _cell(value: Any) -> Any:
    return " ".join(_cell(each) for each in value) if isinstance(value, list) else "" if value is None else str(value)
