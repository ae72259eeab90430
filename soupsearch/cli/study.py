"""The ``study`` command."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import SoupsearchError, Unavailable
from soupsearch.cli.exits import CommandError

if TYPE_CHECKING:
    from lab.study.config import StudyConfig
    from lab.study.evaluators import Evaluators, ExecutorOf
    from service.settings import Settings
    from workers.evaluation.sets import EncodedSet


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(study)


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What to measure; see docs/study.md.")],
    out: Annotated[Path, typer.Argument(help="Folder for the report and everything computed for it.")],
    *,
    workers: Annotated[
        int, typer.Option(min=0, help="Evaluators; 0: one per GPU, or without GPUs one per core.", max=1024)
    ] = 0,
    threads: Annotated[int, typer.Option(min=0, help="CPU threads of each evaluator; 0: its share of the cores.")] = 0,
    device: Annotated[str, typer.Option(help="auto (the GPUs if there are any), cpu or cuda.")] = "auto",
    ray_address: Annotated[
        str | None,
        typer.Option(help="Evaluate on this Ray cluster, not on this machine alone.", metavar="HOST:PORT"),
    ] = None,
    only: Annotated[
        list[str] | None, typer.Option(metavar="PANTRY", help="Study only this pantry; may be repeated.")
    ] = None,
    available: Annotated[
        bool,
        typer.Option(
            "--available", help="Leave out models that do not exist yet and pantries that lack an ingredient."
        ),
    ] = False,
) -> None:
    """Reproduce the paper's figures and test its claims on any pantry and data.

    Scores every soup of the lattice once on every set, then writes `report.html`, `numbers.json` and CSV files.
    After an interruption, even by kill -9, the same command continues where it stopped.

    Example: `soupsearch study examples/studies/quick.yaml out/study`
    """
    if find_spec("matplotlib") is None:
        raise CommandError("drawing reports needs matplotlib: install it with pip install 'soupsearch[lab]'")
    config = _load(file, only or [], available=available)
    settings = _settings(workers, threads, device, ray_address)
    with _reported(file):
        report = _run(config, out, settings, is_private=ray_address is None)
    typer.echo(f"wrote {report}")


@contextmanager
def _reported(file: Path) -> Iterator[None]:
    """Turn errors that users can fix into a CommandError."""
    from workers.evaluation.errors import EvaluationMemoryError
    from workers.soups.errors import IngredientError

    try:
        yield
    except (ValueError, IngredientError, EvaluationMemoryError) as error:
        raise CommandError(f"{file}: {error}") from error


def _run(config: "StudyConfig", out: Path, settings: "Settings", *, is_private: bool) -> Path:
    from lab.study.report import write_report
    from lab.study.results import load_results
    from lab.study.run import StudyRun

    with _progress() as on_progress:
        evaluators = _evaluators(settings, is_private=is_private)
        run = StudyRun(config, out, evaluators, _read_archive, on_progress, settings.batch_size)
        plans = run.compute()
        return write_report(config, [load_results(config, plan, run.store) for plan in plans], out)


def _load(file: Path, only: list[str], *, available: bool) -> "StudyConfig":
    from lab.study.config import StudyConfig

    try:
        config = StudyConfig.load(file)
        if only:
            config = config.only(only)
        if not available:
            return config
        config, missing = config.available()
    except ValueError as error:
        raise CommandError(str(error)) from error
    for name in missing:
        typer.echo(f"left out: {name}", err=True)
    return config


def _settings(workers: int, threads: int, device: str, ray_address: str | None) -> "Settings":
    """The settings of the environment with the options given; on this machine with the device that it has."""
    from service.settings import get_settings
    from soupsearch.cli.devices import NAMES, torch_device

    settings = get_settings()
    wanted = settings.evaluator_device if device == "auto" else device
    chosen = torch_device(wanted) if ray_address is None else wanted
    if wanted not in NAMES:
        raise CommandError(
            f"Ray gives each evaluator its GPU: use --device auto, cpu or cuda instead of {device}; the environment "
            "variable CUDA_VISIBLE_DEVICES chooses among a machine's GPUs"
        )
    given = {"evaluators": workers, "evaluator_threads": threads, "ray_address": ray_address}
    changes = {name: value for name, value in given.items() if value}
    return settings.model_copy(update=changes | {"evaluator_device": chosen})


def _evaluators(settings: "Settings", *, is_private: bool) -> "Evaluators":
    """Evaluators on the cluster of the settings, which is asked at once, or on a private one."""
    if is_private:
        return lambda: _private_evaluators(settings)
    from lab.study.evaluators import cluster_evaluators, connected

    with connected(settings):
        return lambda: cluster_evaluators(settings)


@contextmanager
def _private_evaluators(settings: "Settings") -> "Iterator[ExecutorOf]":
    from soupsearch.embedded.cluster import LocalCluster

    with LocalCluster(cpus=os.cpu_count()) as cluster:
        from lab.study.evaluators import cluster_evaluators  # imports Ray, once its environment is that of the cluster

        try:
            with cluster_evaluators(settings.model_copy(update={"ray_address": cluster.address})) as executor_of:
                yield executor_of
        except Unavailable as error:
            if cluster.is_alive:
                raise
            message = (
                "the local Ray died, perhaps because memory ran out: run the same command again with fewer --workers"
            )
            raise CommandError(message) from error


def _read_archive(folder: Path, archive: Path) -> "EncodedSet":
    from soupsearch.cli.scoring import encoded_set
    from soupsearch.cli.sets import set_archives

    try:
        with set_archives([str(archive)]) as (archives, _):
            return encoded_set(folder, archives[0])
    except SoupsearchError as error:
        raise CommandError(f"{archive}: {error}") from error


@contextmanager
def _progress() -> Iterator[Callable[[str, int, int], None]]:
    """A bar for each stage, in forward passes."""
    from rich.progress import BarColumn, TaskID, TaskProgressColumn, TextColumn, TimeRemainingColumn

    from soupsearch.cli.bars import Bars

    bars: dict[str, TaskID] = {}
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Bars(*columns, speed_estimate_period=600) as progress:

        def on_progress(stage: str, done: int, total: int) -> None:
            if stage not in bars:
                bars[stage] = progress.add_task(stage, total=total)
            progress.update(bars[stage], completed=done, total=total)

        yield on_progress
