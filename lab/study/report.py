"""A study's report: one HTML file that loads nothing, and its numbers beside it as JSON and CSV."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, get_origin, get_type_hints

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from lab.study.analysis import ModelRobustness, PantryAnalysis, analyse, claims_over_seeds
from lab.study.claims.claim import PaperClaim
from lab.study.config import StudyConfig
from lab.study.figures.comparison import ComparisonCell
from lab.study.figures.composition import Composition, draw_by_severity, draw_top_five
from lab.study.figures.curves import CurvePoint, draw_curves
from lab.study.figures.few_shot import FewShotPoint, draw_few_shot
from lab.study.figures.shifts import ShiftScore, draw_shifts
from lab.study.figures.simplices import SimplexPoint, draw_simplices
from lab.study.results import PantryResults
from workers.whole_file import remove_stale, whole_file

REPORT = "report.html"
NUMBERS = "numbers.json"
CLAIMS = "claims.md"


def write_report(config: StudyConfig, results: Sequence[PantryResults], out: Path) -> Path:
    """Write ``report.html`` to ``out`` and return its path. Also writes ``numbers.json``, ``claims.md`` and CSV files.

    Raises OSError, saying what to do if the disk is full. No file is left half written.
    """
    analyses = [analyse(config, each) for each in results]
    claims = [claim for each in analyses for claim in each.claims] + claims_over_seeds(config, results)
    rows = tables(analyses, claims)
    out.mkdir(parents=True, exist_ok=True)
    for name in (REPORT, NUMBERS, CLAIMS, *(f"{table}.csv" for table in rows)):
        remove_stale(out.glob(f".{name}.*"))
    _write(out / NUMBERS, numbers_json(config, rows))
    for name, table in rows.items():
        _write(out / f"{name}.csv", to_csv(columns_of(name), table))
    _write(out / CLAIMS, to_markdown(rows["claims"]))
    return _write(out / REPORT, _html(config, analyses, rows))


def _write(path: Path, text: str) -> Path:
    with whole_file(path) as file:
        file.write(text.encode())
    return path


def _html(config: StudyConfig, analyses: Sequence[PantryAnalysis], rows: dict[str, list[dict[str, Any]]]) -> str:
    loader = PackageLoader("lab.study")
    environment = Environment(loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    template = environment.get_template("report.html")
    return template.render(
        config=config,
        claims=rows["claims"],
        pantries=[{"analysis": each, "drawings": dict(_drawings(each)), "table": _table(each)} for each in analyses],
    )


def _drawings(analysis: PantryAnalysis) -> Iterator[tuple[str, str]]:
    """The SVG of each figure that has numbers."""
    name, names = analysis.results.name, analysis.results.ingredients
    if analysis.curves:
        yield "curves", draw_curves(analysis.curves, f"{name}-curves")
    if analysis.simplices:
        yield "simplices", draw_simplices(analysis.simplices, f"{name}-simplices")
    yield "shifts", draw_shifts(analysis.shifts, f"{name}-shifts")
    yield "top_five", draw_top_five(analysis.compositions, names, f"{name}-top-five")
    if analysis.few_shot:
        yield "few_shot", draw_few_shot(analysis.few_shot, f"{name}-few-shot")
    if any(item.corruption for item in analysis.compositions):
        yield "severities", draw_by_severity(analysis.compositions, names, f"{name}-severities")


def _table(analysis: PantryAnalysis) -> dict[str, Any]:
    """Table 1: methods by groups of sets."""
    groups = {cell.group: cell.sets for cell in analysis.comparison}
    cells = {(cell.method, cell.group): cell for cell in analysis.comparison}
    methods = dict.fromkeys(cell.method for cell in analysis.comparison)
    best = {group: max(cells[method, group].accuracy for method in methods) for group in groups}
    return {"groups": groups, "rows": {m: [cells[m, group] for group in groups] for m in methods}, "best": best}


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
"""The dataclass of a row in each table."""

CLAIM_COLUMNS = ["number", "claim", "measure", "pantry", "value", "low", "high", "unit", "rule", "verdict", "note"]


def tables(analyses: Sequence[PantryAnalysis], claims: Sequence[PaperClaim]) -> dict[str, list[dict[str, Any]]]:
    """Rows of every table by name, over all pantries."""
    named = {name: [record(row) for each in analyses for row in getattr(each, name)] for name in TABLES}
    return {"claims": [claim_record(claim) for claim in claims], **named}


def numbers_json(config: StudyConfig, rows: dict[str, list[dict[str, Any]]]) -> str:
    """All tables, and the configuration they were measured with."""
    about = config.model_dump(mode="json", exclude={"pantries", "data"})
    about["data"] = config.data.model_dump(mode="json", exclude={"idx", "sets"})
    return json.dumps({"study": about, **rows}, indent=None, separators=(",", ":"), allow_nan=False) + "\n"


def columns_of(table: str) -> list[str]:
    """The columns of a table, even if it has no rows. Arrays, which are only intermediate, are not columns."""
    if table not in TABLES:
        return CLAIM_COLUMNS
    hints = get_type_hints(TABLES[table])
    return [field.name for field in fields(TABLES[table]) if get_origin(hints[field.name]) is not np.ndarray]


def to_csv(columns: Sequence[str], rows: Sequence[dict[str, Any]]) -> str:
    """A table with its header; lists become numbers separated by spaces."""
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({key: _cell(value) for key, value in row.items()} for row in rows)
    return buffer.getvalue()


def to_markdown(claims: Sequence[dict[str, Any]]) -> str:
    """The table of claims as Markdown."""
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
    """A dataclass as JSON values with rounded numbers. Arrays, which are only intermediate, are left out."""
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
