"""A study's report: one HTML file that loads nothing else, and its numbers beside it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from lab.study.analysis import PantryAnalysis, analyse, claims_over_seeds
from lab.study.config import StudyConfig
from lab.study.documents import columns_of, numbers_json, tables, to_csv, to_markdown
from lab.study.figures.composition import draw_by_severity, draw_top_five
from lab.study.figures.curves import draw_curves
from lab.study.figures.few_shot import draw_few_shot
from lab.study.figures.shifts import draw_shifts
from lab.study.figures.simplices import draw_simplices
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
