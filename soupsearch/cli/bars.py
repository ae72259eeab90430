"""Progress bars, and lines instead where no bar can be drawn."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.progress import BarColumn, Progress, ProgressColumn, Task, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from lab.training.progress import TrainingProgress

EVERY = 30.0
"""Minimum number of seconds between two lines of one bar."""
_WIDTH = 160


class Bars(Progress):
    """Progress bars on a terminal; lines of text when standard error is a file or a pipe.

    Only ``update`` writes lines: when a bar is full, and otherwise at most every ``every`` seconds. ``stop`` writes
    where each bar stood. ``columns`` and ``options`` are rich's; lines leave out the drawn bar. Without ``lines``
    nothing is shown except on a terminal; ``quiet`` shows nothing at all. Several threads may call ``update``. A log
    that can no longer be written, because of a full disk or a closed pipe, does not stop the work.
    """

    def __init__(
        self,
        *columns: str | ProgressColumn,
        quiet: bool = False,
        lines: bool = True,
        every: float = EVERY,
        **options: Any,
    ) -> None:
        console = Console(stderr=True)
        drawn = console.is_interactive and console.file.isatty()
        if not drawn:
            console = _Log(stderr=True, width=_WIDTH)
            columns = tuple(each for each in columns or self.get_default_columns() if not isinstance(each, BarColumn))
        super().__init__(*columns, console=console, disable=quiet or not drawn, **options)
        self._lines = lines and not quiet and not drawn
        self._every = every
        self._begun = self.get_time()
        self._told: dict[TaskID, tuple[float, str]] = {}

    def update(self, task_id: TaskID, **changes: Any) -> None:
        """Move a bar; see ``rich.progress.Progress.update``."""
        with self._lock:
            super().update(task_id, **changes)
            if self._lines:
                self._tell_when_due(self._tasks[task_id])

    def stop(self) -> None:
        """Stop drawing, and write another line for each bar that has moved since its last line."""
        super().stop()
        with self._lock:
            if self._lines:
                for task in self.tasks:
                    self._tell(task)
            self._lines = False

    def _tell_when_due(self, task: Task) -> None:
        last, _ = self._told.get(task.id, (self._begun, ""))
        if task.finished or self.get_time() - last >= self._every:
            self._tell(task)

    def _tell(self, task: Task) -> None:
        state = f"{task.description} {task.completed} {task.total}"
        if self._told.get(task.id, (0.0, ""))[1] != state:
            self._told[task.id] = (self.get_time(), state)
            self.console.print(self.make_tasks_table([task]))


class _Log(Console):
    """A console whose reader may go away and whose disk may fill up: the work must continue all the same."""

    def print(self, *objects: Any, **options: Any) -> None:
        with suppress(OSError):
            super().print(*objects, **options)

    def on_broken_pipe(self) -> None:
        self.quiet = True


class TrainingBars:
    """One bar per ingredient, on standard error. Several threads may call it."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, name: str, step: "TrainingProgress") -> None:
        """Move the bar of the ingredient ``name``."""
        if name not in self._bars:
            self._bars[name] = self._progress.add_task(name, total=step.steps, loss=step.loss, rate=0.0)
        self._progress.update(self._bars[name], completed=step.step, loss=step.loss, rate=step.images_per_second)


@contextmanager
def training_bars() -> Iterator[TrainingBars]:
    """Bars that are drawn until the context ends."""
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.completed}/{task.total} steps  loss {task.fields[loss]:.3f}  {task.fields[rate]:.0f} images/s"
        ),
        TimeRemainingColumn(),
    )
    with Bars(*columns) as progress:
        yield TrainingBars(progress)
