"""What commands print: tables and progress bars."""

from rich.console import Console, RenderableType
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from service.schemas.job import Job
from service.schemas.pantry import Pantry
from service.schemas.result import Baselines, HeldOut, Result, Score
from soupsearch.cli.bars import Bars
from soupsearch.client import Client

BEST = "best soup"
SHORT = 12
"""How many characters of a set's id are enough to tell sets apart."""


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
    with Bars(*columns, quiet=quiet) as progress:
        bar = progress.add_task("queued", total=None, best="")
        for job in client.watch(job_id):
            for warning in job.warnings:
                if warning.message not in warned:
                    warned.add(warning.message)
                    progress.console.print(f"warning: {warning.message}", style="yellow")
            best = f"best {_score(job.best.score, _metric(job))}" if job.best else ""
            total = job.progress.total or None
            progress.update(bar, description=str(job.status), completed=job.progress.done, total=total, best=best)
    return job


def weights_text(weights: dict[str, float]) -> str:
    """Soup weights on one line."""
    return "  ".join(f"{name} {weight:+.2f}" for name, weight in weights.items())


def result_tables(job: Job) -> list[Table]:
    """The soup beside its baselines, the top soups, and, if there are any, sets, constraints and the front."""
    result = job.result
    if result is None:
        return []
    tables = [_comparison(job, result), _soups(job, result)]
    if len(result.per_set) > 1:
        tables.append(_each_set(result))
    if result.constraints:
        tables.append(_constraints(result))
    if result.front:
        tables.append(_front(job, result))
    if result.label_next:
        tables.append(label_table(result))
    return tables


def _comparison(job: Job, result: Result) -> Table:
    metrics = list(result.metrics)
    held_out = {} if result.held_out is None else {BEST: result.held_out.soup} | _baselines(result.held_out)
    apart = [f"{result.held_out.images} held out", "95 %"] if result.held_out else []
    images = f"{result.cost.images if result.images is None else result.images} images"
    if result.label_free is not None:
        images = f"{result.label_free.labelled} images with a label, {result.label_free.unlabelled} without"
    title = f"pantry {job.request.request.pantry}, {images}"
    table = _table(title, "model", "score", "95 %", "nll", *apart, *metrics)
    rows: dict[str, Score | Result] = {BEST: result} | (
        {} if result.baselines is None else _baselines(result.baselines)
    )
    for name, score in rows.items():
        other = held_out.get(name)
        again = ["", ""] if other is None else [_score(other.score, result.metric), _interval(other, result.metric)]
        values = [*again[: len(apart)], *(_share(score.metrics.get(metric)) for metric in metrics)]
        style = "bold" if score is result else None
        shown = [_score(score.score, result.metric), _interval(score, result.metric)]
        table.add_row(name, *shown, _decimal(score.nll), *values, style=style)
    return table


def _baselines(scores: Baselines | HeldOut) -> dict[str, Score]:
    others = {
        "uniform soup": scores.uniform_soup,
        "logit ensemble": scores.logit_ensemble,
        "softmax ensemble": scores.softmax_ensemble,
        "reference": scores.reference,
    }
    changes = {"adapted statistics": scores.adapted_statistics, "refitted last layer": scores.refitted_head}
    refined = {f"{score.ingredient}, {change}": score for change, score in changes.items() if score is not None}
    return scores.ingredients | refined | {name: score for name, score in others.items() if score is not None}


def _each_set(result: Result) -> Table:
    table = _table("best soup on each set", "set", "score", "95 %")
    for digest, score in result.per_set.items():
        table.add_row(digest[:SHORT], _score(score.score, result.metric), _interval(score, result.metric))
    return table


def _constraints(result: Result) -> Table:
    table = _table("constraints", "accuracy", "on", "at least", "value", "holds")
    for each in result.constraints:
        wanted = each.constraint
        labels = [threat.label for threat in wanted.threats or []]
        attacks = ", ".join(labels) + (f" ({wanted.over_threats})" if len(labels) > 1 else "")
        sets = ", ".join(digest[:SHORT] for digest in wanted.adaptation_sets or []) or "all sets"
        holds = "yes" if each.holds else "no"
        table.add_row(attacks or "without attack", sets, _share(wanted.at_least), _share(each.value), holds)
    return table


def _soups(job: Job, result: Result) -> Table:
    metrics = list(result.metrics)
    title = f"top soups: soupsearch download {job.id} --point POINT --out DIR"
    table = _table(title, "point", *result.weights, "score", "nll", *metrics)
    for soup in result.top:
        weights = [f"{weight:+.2f}" for weight in soup.weights.values()]
        values = [_share(soup.metrics.get(metric)) for metric in metrics]
        number = "" if soup.point is None else str(soup.point)
        table.add_row(number, *weights, _score(soup.score, result.metric), _decimal(soup.nll), *values)
    return table


def _front(job: Job, result: Result) -> Table:
    metrics = {each.name: each.metric for each in job.request.request.objectives or []}
    title = f"front: soupsearch download {job.id} --point POINT --out DIR"
    table = _table(title, "point", *metrics, *result.weights)
    for soup in result.front:
        values = [_score(soup.objectives[name], metric) for name, metric in metrics.items()]
        table.add_row(str(soup.point), *values, *(f"{weight:+.2f}" for weight in soup.weights.values()))
    return table


def label_table(result: Result) -> Table:
    """One row per image to label, the most telling first."""
    several = len({each.set for each in result.label_next}) > 1
    table = _table("images to label next", *(["set"] if several else []), "image", "soups that predict each class")
    for each in result.label_next:
        votes = ", ".join(f"{name} {soups}" for name, soups in each.votes.items())
        table.add_row(*([each.set[:SHORT]] if several else []), each.image, votes)
    return table


def job_table(jobs: list[Job]) -> Table:
    """One row per job."""
    table = _table("jobs", "id", "status", "pantry", "soups", "best", "created")
    table.columns[0].no_wrap = True
    table.columns[0].min_width = max((len(job.id) for job in jobs), default=0)
    for job in jobs:
        done = f"{job.progress.done}/{job.progress.total}"
        best = _score(job.best.score, _metric(job)) if job.best else ""
        table.add_row(job.id, job.status, job.request.request.pantry, done, best, f"{job.created_at:%Y-%m-%d %H:%M}")
    return table


def pantry_table(pantries: list[Pantry]) -> Table:
    """One row per pantry."""
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


def _share(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _metric(job: Job) -> str:
    return job.request.request.ranked_by[0].metric


def _score(value: float, metric: str) -> str:
    return f"{value:.3f}" if metric in {"nll", "mutual_information"} else f"{value:.1%}"


def _interval(score: Score | Result, metric: str) -> str:
    return f"{_score(score.interval[0], metric)} to {_score(score.interval[1], metric)}" if score.interval else ""


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
