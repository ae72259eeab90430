"""What commands print: tables and progress bars."""

from typing import Any

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.client import Client
from service.schemas.job import Job
from service.schemas.pantry import Pantry
from service.schemas.result import Score


def show(*renderables: RenderableType) -> None:
    """Print to standard output."""
    console = Console()
    for renderable in renderables:
        console.print(renderable)


def follow(client: Client, job_id: str, *, quiet: bool = False) -> Job:
    """Show a progress bar on standard error until the job has ended; return the job."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("soups  {task.fields[best]}"),
        TimeRemainingColumn(),
    )
    warned: set[str] = set()
    with Progress(*columns, console=Console(stderr=True), disable=quiet) as progress:
        bar = progress.add_task("queued", total=None, best="")
        for job in client.watch(job_id):
            for warning in job.warnings:
                if warning.message not in warned:
                    warned.add(warning.message)
                    progress.console.print(f"warning: {warning.message}", style="yellow")
            best = f"best {job.best.score:.1%}" if job.best else ""
            total = job.progress.total or None
            progress.update(bar, description=str(job.status), completed=job.progress.done, total=total, best=best)
    return job


def weights_text(weights: dict[str, float]) -> str:
    """Soup weights in a line."""
    return "  ".join(f"{name} {weight:+.2f}" for name, weight in weights.items())


def result_tables(job: Job) -> list[Table]:
    """The soup beside its baselines, and the top soups."""
    result = job.result
    if result is None:
        return []
    comparison = _table(
        f"pantry {job.request.request.pantry}, {result.cost.images} images", "model", "score", "95 %", "nll"
    )
    _score_row(comparison, "best soup", result, bold=True)
    if result.baselines is not None:
        for name, score in result.baselines.ingredients.items():
            _score_row(comparison, name, score)
        _score_row(comparison, "uniform soup", result.baselines.uniform_soup)
        _score_row(comparison, "logit ensemble", result.baselines.logit_ensemble)
        _score_row(comparison, "softmax ensemble", result.baselines.softmax_ensemble)
    top = _table("top soups", *result.weights, "score", "nll")
    for soup in result.top:
        top.add_row(*(f"{weight:+.2f}" for weight in soup.weights.values()), f"{soup.score:.1%}", _decimal(soup.nll))
    return [comparison, top]


def job_table(jobs: list[Job]) -> Table:
    """Jobs, a row each."""
    table = _table("jobs", "id", "status", "pantry", "soups", "best", "created")
    for job in jobs:
        done = f"{job.progress.done}/{job.progress.total}"
        best = f"{job.best.score:.1%}" if job.best else ""
        table.add_row(job.id, job.status, job.request.request.pantry, done, best, f"{job.created_at:%Y-%m-%d %H:%M}")
    return table


def pantry_table(pantries: list[Pantry]) -> Table:
    """Pantries, a row each."""
    table = _table("pantries", "name", "architecture", "parameters", "classes", "input", "ingredients")
    for pantry in pantries:
        size = "x".join(map(str, pantry.input_size))
        names = ", ".join(ingredient.name for ingredient in pantry.ingredients)
        table.add_row(pantry.name, pantry.architecture, f"{pantry.parameters:,}", str(pantry.num_classes), size, names)
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column)
    return table


def _score_row(table: Table, name: str, score: Score | Any, *, bold: bool = False) -> None:
    low_high = f"{score.interval[0]:.1%} to {score.interval[1]:.1%}" if score.interval else ""
    table.add_row(name, f"{score.score:.1%}", low_high, _decimal(score.nll), style="bold" if bold else None)


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
