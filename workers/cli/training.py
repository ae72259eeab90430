"""Training on the command line."""

from collections.abc import Collection
from pathlib import Path

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

from workers.cli.exits import CommandError


def build_with_progress(
    recipe: Path, folder: Path, *, data: Path | None, only: Collection[str] | None, device: str, threads: int
) -> list[Path]:
    """Build a pantry under ``folder`` and draw a progress bar for each ingredient.

    Raises CommandError for a recipe that is not valid, and for a folder that holds another pantry.
    """
    import torch

    from workers.training.pantry_build import build_pantry
    from workers.training.progress import Progress as Step
    from workers.training.recipe import PantryRecipe

    if threads:
        torch.set_num_threads(threads)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TextColumn(
            "{task.completed}/{task.total} steps  loss {task.fields[loss]:.3f}  {task.fields[rate]:.0f} images/s"
        ),
        TimeRemainingColumn(),
    )
    bars: dict[str, TaskID] = {}
    with Progress(*columns, console=Console(stderr=True)) as progress:

        def on_progress(name: str, step: Step) -> None:
            if name not in bars:
                bars[name] = progress.add_task(name, total=step.steps, loss=step.loss, rate=0.0)
            progress.update(bars[name], completed=step.step, loss=step.loss, rate=step.images_per_second)

        try:
            parsed = PantryRecipe.load(recipe)
            if data is not None:
                parsed = parsed.model_copy(update={"data": parsed.data.model_copy(update={"folder": data})})
            target = folder / parsed.name
            return build_pantry(parsed, target, only=only, device=device, on_progress=on_progress)
        except (ValueError, OSError) as error:
            raise CommandError(f"{recipe}: {error}") from error
