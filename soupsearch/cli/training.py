"""Commands that train one ingredient: ``train``, ``finetune``."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from soupsearch.cli.exits import CommandError
from soupsearch.cli.options import (
    CheckpointSeconds,
    DataFolder,
    Device,
    Overrides,
    RayAddress,
    Tensorboard,
    Threads,
    TrainingWorkers,
)
from soupsearch.cli.sharing import own_device, tell_masking, tell_measuring, training_shared

if TYPE_CHECKING:
    from lab.training.recipe import IngredientRecipe, PantryRecipe

Read = TypeVar("Read")
Recipe = Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file; see examples/recipes and docs/training.md.")]
Out = Annotated[Path, typer.Argument(metavar="OUT_DIR", help="The ingredient's folder, which timm loads.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(train)
    app.command()(finetune)


def train(
    recipe: Recipe,
    out: Out,
    *,
    data: DataFolder = None,
    overrides: Overrides = None,
    device: Device = "auto",
    threads: Threads = 0,
    checkpoint_seconds: CheckpointSeconds = 30.0,
    tensorboard: Tensorboard = False,
    workers: TrainingWorkers = 1,
    ray_address: RayAddress = None,
) -> None:
    """Train one ingredient from scratch, from its own recipe or as the base of a pantry's recipe.

    To continue an interrupted training, run the same command again.

    Example: `soupsearch train examples/recipes/fashion-vit.yaml out/linf --set base.linf.epochs=1 --device cpu`
    """
    _build(
        _ingredient(recipe_of(recipe, data, overrides), None),
        out,
        device=device,
        threads=threads,
        workers=workers,
        ray_address=ray_address,
        options={"checkpoint_seconds": checkpoint_seconds, "tensorboard": tensorboard},
    )


def finetune(
    recipe: Recipe,
    base: Annotated[Path, typer.Argument(metavar="BASE_MODEL_DIR", help="The timm folder to start from.")],
    out: Out,
    *,
    name: Annotated[str | None, typer.Option(help="Which fine-tune, if RECIPE is a pantry's.")] = None,
    data: DataFolder = None,
    overrides: Overrides = None,
    device: Device = "auto",
    threads: Threads = 0,
    checkpoint_seconds: CheckpointSeconds = 30.0,
    tensorboard: Tensorboard = False,
    workers: TrainingWorkers = 1,
    ray_address: RayAddress = None,
) -> None:
    """Fine-tune one ingredient from another model of the same architecture, for another threat or for clean accuracy.

    Example: `soupsearch finetune examples/recipes/fashion-vit.yaml examples/pantries/fashion-vit/linf out/l2 --name l2`
    """
    _build(
        _ingredient(recipe_of(recipe, data, overrides), name, from_base=True),
        out,
        base=base,
        device=device,
        threads=threads,
        workers=workers,
        ray_address=ray_address,
        options={"checkpoint_seconds": checkpoint_seconds, "tensorboard": tensorboard},
    )


def recipe_of(recipe: Path, data: Path | None, overrides: list[str] | None) -> "IngredientRecipe | PantryRecipe":
    """A recipe with the options applied. Raises CommandError naming each wrong field."""
    from lab.training.recipe_file import read_recipe

    return _read(read_recipe, recipe, data, overrides)


def pantry_recipe_of(recipe: Path, data: Path | None, overrides: list[str] | None) -> "PantryRecipe":
    """A pantry's recipe with the options applied. Raises CommandError as ``recipe_of``, and for an ingredient's."""
    from lab.training.recipe_file import read_pantry_recipe

    return _read(read_pantry_recipe, recipe, data, overrides)


def _read(
    read: Callable[[Path, list[str]], Read], recipe: Path, data: Path | None, overrides: list[str] | None
) -> Read:
    replaced = [] if data is None else [f"data.folder={json.dumps(str(data))}"]
    try:
        return read(recipe, [*replaced, *(overrides or [])])
    except ValueError as error:
        raise CommandError(str(error)) from error


def _ingredient(
    recipe: "IngredientRecipe | PantryRecipe", name: str | None, *, from_base: bool = False
) -> "IngredientRecipe":
    """The recipe of the ingredient that the options select."""
    from lab.training.recipe import IngredientRecipe

    if isinstance(recipe, IngredientRecipe):
        if name is not None:
            raise CommandError("--name is for a pantry's recipe, and this recipe is for one ingredient: leave it out")
        return recipe
    if not from_base:
        return recipe.ingredient(recipe.base_name)
    if name not in recipe.fine_tunes:
        raise CommandError(
            f"choose one of the fine-tunes in the pantry's recipe: --name {' or '.join(recipe.fine_tunes)}"
        )
    return recipe.ingredient(name)


def _build(
    recipe: "IngredientRecipe",
    out: Path,
    *,
    base: Path | None = None,
    device: str,
    threads: int,
    workers: int,
    ray_address: str | None,
    options: dict[str, Any],
) -> None:
    import torch

    from lab.training.ingredient_build import build_ingredient
    from soupsearch.cli.bars import training_bars
    from soupsearch.cli.devices import torch_device

    if threads:
        torch.set_num_threads(threads)
    shared = training_shared(workers, ray_address, device=device, threads=threads)
    with shared as train, training_bars() as bars:
        chosen = torch_device(own_device(device, train))
        options = {**options, "on_progress": partial(bars, out.name), "on_measure": tell_measuring}
        try:
            build_ingredient(recipe, out, base=base, device=chosen, train=train, **options)
        except (ValueError, OSError) as error:
            raise CommandError(str(error)) from error
    typer.echo(f"trained {out}")
    tell_masking(out)
