"""The ``study`` command."""

import os
from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from service.errors import SoupsearchError
from soupsearch.cli.exits import CommandError
from soupsearch.cli.options import Device

if TYPE_CHECKING:
    from lab.study.config import StudyConfig
    from lab.study.executors import StudyExecutor
    from workers.evaluation.sets import EncodedSet


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(study)


def study(
    file: Annotated[Path, typer.Argument(metavar="STUDY.yaml", help="What to measure; see docs/study.md.")],
    out: Annotated[Path, typer.Argument(help="Folder for the report and everything computed for it.")],
    *,
    workers: Annotated[
        int, typer.Option(min=0, help="Processes on this machine; 0: one per core, or a single one on a GPU.")
    ] = 0,
    threads: Annotated[int, typer.Option(min=1, help="CPU threads of each process.")] = 1,
    device: Device = "auto",
    ray_address: Annotated[
        str | None, typer.Option(help="Run on this Ray cluster instead, HOST:PORT.", metavar="ADDRESS")
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
    with _reported(file):
        report = _run(config, out, _executor(workers, threads, device, ray_address))
    typer.echo(f"wrote {report}")


@contextmanager
def _reported(file: Path) -> Iterator[None]:
    """Turn errors that users can fix into a CommandError."""
    from workers.soups.errors import IngredientError

    try:
        yield
    except (ValueError, IngredientError) as error:
        raise CommandError(f"{file}: {error}") from error
    except BrokenExecutor as error:
        message = "a process died, perhaps because memory ran out: run the same command again with fewer --workers"
        raise CommandError(message) from error


def _run(config: "StudyConfig", out: Path, executor: "StudyExecutor") -> Path:
    from lab.study.report import write_report
    from lab.study.results import load_results
    from lab.study.run import StudyRun

    with _progress() as on_progress:
        run = StudyRun(config, out, executor, _read_archive, on_progress)
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


def _executor(workers: int, threads: int, device: str, ray_address: str | None) -> "StudyExecutor":
    from soupsearch.cli.devices import torch_device

    if ray_address is not None:
        from lab.study.cluster import DEVICES, RayTasks

        if device not in DEVICES:
            raise CommandError(
                f"on a cluster Ray chooses the GPU: --device must be one of {', '.join(DEVICES)}, not {device!r}"
            )
        return RayTasks(ray_address, device=device, threads=threads)
    from lab.study.executors import LocalProcesses

    chosen = torch_device(device)
    return LocalProcesses(workers or _processes(chosen), threads=threads, device=chosen)


def _processes(device: str) -> int:
    """One per core; on a GPU one, because a single process keeps it busy."""
    return 1 if device.startswith("cuda") else os.cpu_count() or 1


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
