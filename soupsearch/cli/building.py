"""Building pantries, several fine-tunes at once."""

import multiprocessing
import os
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING, Any

from soupsearch.cli.bars import training_bars
from soupsearch.cli.exits import CommandError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from lab.training.pantry_build import OnPantryProgress
    from lab.training.recipe import PantryRecipe

_told: Any = None
"""In a process that builds: the queue for its progress."""


def build_with_progress(
    recipe: "PantryRecipe",
    folder: Path,
    *,
    only: Collection[str] | None,
    jobs: int,
    device: str,
    threads: int,
    options: dict[str, Any],
) -> list[Path]:
    """Build a pantry in ``folder/NAME``, ``jobs`` fine-tunes at a time, with a progress bar for each ingredient.

    ``options`` are those of ``PantryBuild``. If they include ``train``, which trains elsewhere, this process only waits
    for the fine-tunes; otherwise child processes train them.

    Raises CommandError for data that do not fit the recipe, and for a folder that holds something else.
    """
    import torch

    from lab.training.pantry_build import PantryBuild, wanted_ingredients
    from soupsearch.cli.devices import torch_device

    target, chosen = folder / recipe.name, torch_device(device)
    shared = threads or max((os.cpu_count() or 1) // jobs, 1)
    with training_bars() as bars:
        try:
            base, *fine_tunes = wanted_ingredients(recipe, only)
            torch.set_num_threads(threads or os.cpu_count() or 1)
            build = PantryBuild(recipe, target, chosen, **options)
            built = [build.ingredient(base, bars)]
            if jobs == 1:
                return built + [build.ingredient(name, bars) for name in fine_tunes]
            if options.get("train") is not None:
                waiting = [partial(build.ingredient, name, bars) for name in fine_tunes]
                with waiting_threads() as submit:
                    return built + results(submit, waiting, jobs)
            del build
            tasks = [
                partial(_build, recipe, target, name, _spread(chosen, number), options)
                for number, name in enumerate(fine_tunes)
            ]
            with _builders(min(jobs, len(fine_tunes) or 1), shared, bars) as submit:
                return built + results(submit, tasks, jobs)
        except BrokenProcessPool as error:
            raise CommandError("a training process was killed: run the same command again to continue") from error
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from error


def fine_tunes_of(recipe: "PantryRecipe", only: Collection[str] | None) -> int:
    """The number of fine-tunes to build, at least 1. Raises CommandError if ``only`` names an unknown ingredient."""
    from lab.training.pantry_build import wanted_ingredients

    try:
        return max(1, len(wanted_ingredients(recipe, only)) - 1)
    except ValueError as error:
        raise CommandError(str(error)) from error


def results(
    submit: Callable[[Callable[[], Path]], Future[Path]], tasks: Sequence[Callable[[], Path]], at_once: int
) -> list[Path]:
    """Run ``tasks`` with at most ``at_once`` of them submitted at a time, and return their results in order.

    Raises what a task raises, and submits none after one has failed. If a pool got all tasks at once, some would wait
    in its pipe, where they can no longer be cancelled.
    """
    begun: list[Future[Path]] = []
    for task in tasks:
        running = [future for future in begun if not future.done()]
        if len(running) >= at_once:
            wait(running, return_when=FIRST_COMPLETED)
        for future in begun:
            if future.done():
                future.result()
        begun.append(submit(task))
    return [future.result() for future in begun]


@contextmanager
def waiting_threads() -> "Iterator[Callable[[Callable[[], Path]], Future[Path]]]":
    """Threads that wait for trainings elsewhere. If one fails, the others run to their end, as processes do.

    An interrupt ends the command immediately, and the threads with it.
    """
    begun: list[Future[Path]] = []

    def submit(task: Callable[[], Path]) -> Future[Path]:
        future: Future[Path] = Future()
        begun.append(future)
        Thread(target=_settle, args=(future, task), daemon=True).start()
        return future

    try:
        yield submit
    except Exception:
        wait(begun)
        raise


def _settle(future: Future[Path], task: Callable[[], Path]) -> None:
    try:
        future.set_result(task())
    except BaseException as error:  # noqa: BLE001 - raised again where the result is asked for
        future.set_exception(error)


def _spread(device: str, number: int) -> str:
    """The next GPU in turn, or the device itself if it names one."""
    import torch

    return f"cuda:{number % torch.cuda.device_count()}" if device == "cuda" else device


@contextmanager
def _builders(
    processes: int, threads: int, on_progress: "OnPantryProgress"
) -> "Iterator[Callable[[Callable[[], Path]], Future[Path]]]":
    """Processes that build. They end with this one, and their progress reaches ``on_progress``."""
    context = multiprocessing.get_context("spawn")
    queue = context.SimpleQueue()
    listener = Thread(target=_listen, args=(queue, on_progress), daemon=True)
    listener.start()
    started = (queue, threads, os.getpid())
    try:
        with ProcessPoolExecutor(processes, context, initializer=_start, initargs=started) as pool:
            yield pool.submit
    finally:
        queue.put(None)
        listener.join()


def _listen(queue: Any, on_progress: "OnPantryProgress") -> None:
    while (told := queue.get()) is not None:
        on_progress(*told)


def _start(queue: Any, threads: int, parent: int) -> None:
    import torch

    from service.parent_death import die_with_parent

    global _told  # noqa: PLW0603
    die_with_parent(parent)
    torch.set_num_threads(threads)
    _told = queue


def _build(recipe: "PantryRecipe", target: Path, name: str, device: str, options: dict[str, Any]) -> Path:
    from lab.training.pantry_build import PantryBuild

    build = PantryBuild(recipe, target, device, **options)
    return build.ingredient(name, lambda ingredient, progress: _told.put((ingredient, progress)))
