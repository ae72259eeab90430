"""Progress bars of training."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

if TYPE_CHECKING:
    from workers.training.progress import Progress as Step


class TrainingBars:
    """One bar an ingredient, on standard error. May be told from several threads."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._bars: dict[str, TaskID] = {}

    def __call__(self, name: str, step: "Step") -> None:
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
    with Progress(*columns, console=Console(stderr=True)) as progress:
        yield TrainingBars(progress)
