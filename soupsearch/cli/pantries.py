"""Commands about pantries: ``pantry add``, ``list``, ``show``, ``remove``, ``build``."""

import json
import shlex
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soupsearch.cli.exits import CommandError
from soupsearch.cli.options import (
    AsJson,
    CheckpointSeconds,
    DataFolder,
    Device,
    Overrides,
    RayAddress,
    Tensorboard,
    TrainingWorkers,
)
from soupsearch.cli.sharing import own_device, tell_masking, tell_measuring, training_shared

if TYPE_CHECKING:
    from service.schemas.pantry import Pantry

app = typer.Typer(no_args_is_help=True, help="Add, list, show, remove and build pantries.")

Url = Annotated[
    str | None,
    typer.Option("--url", help="The service to call; the default is the data folder of this machine.", metavar="URL"),
]
PantryName = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, dot, dash, underscore.")]


def _data_dir() -> Path:
    from service.settings import get_settings

    return get_settings().data_dir


def _registry() -> Any:
    from service.artifacts import open_store
    from service.pantries.registry import PantryRegistry
    from service.settings import get_settings

    settings = get_settings()
    return PantryRegistry(open_store(settings), settings)


def _refuse_beside_a_service() -> None:
    """A running service knows which jobs need a pantry; the files alone do not show it."""
    from service.settings import get_settings
    from soupsearch.embedded.redis import EmbeddedRedis

    if EmbeddedRedis.is_locked(get_settings().data_dir):
        raise CommandError("a service is using this data folder and its jobs may need the pantry: pass --url")


@app.command()
def add(
    name: PantryName,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Ingredients in order: timm folders (config.json and model.safetensors), or one folder of them. "
            "NAME=DIR gives an ingredient another name than its folder's.",
        ),
    ],
    *,
    config: Annotated[
        Path | None,
        typer.Option(help="config.json for ingredients given as state_dict files (.pt, .pth), which are converted."),
    ] = None,
    ema: Annotated[
        bool,
        typer.Option(
            "--ema/--no-ema",
            help="Whether to take the moving average of the weights from a file that has one, as timm does.",
        ),
    ] = True,
    reference: Annotated[
        str | None,
        typer.Option(
            help="Name of one of them that is not an ingredient but an independent model of the same architecture, "
            "to compare results with."
        ),
    ] = None,
    url: Url = None,
) -> None:
    """Add a pantry: 2 to 16 checkpoints of one architecture. They are checked completely and never change afterwards.

    Example: `soupsearch pantry add fashion checkpoints/linf checkpoints/l2 clean=checkpoints/nominal`
    """
    from soupsearch.cli.ingredients import gathered

    with gathered(folders, config, use_ema=ema) as ingredients:
        pantry = _added(name, ingredients, url, reference)
    names = ", ".join(each.name for each in pantry.ingredients)
    typer.echo(f"added pantry {pantry.name}: {names} ({pantry.digest[:12]}), to {url or _data_dir()}")


def _added(name: str, ingredients: dict[str, Path], url: str | None, reference: str | None = None) -> "Pantry":
    if url is None:
        from workers.soups.verify import verify_folder

        added: Pantry = _registry().add(name, ingredients, verify_folder, reference=reference)
        return added
    from soupsearch.cli.ingredients import packed
    from soupsearch.client import Client

    names = [each for each in ingredients if each != reference]
    request = {"name": name, "ingredients": names, "reference": reference}
    with Client(url) as client, packed(ingredients) as archive:
        return client.add_pantry(request, archive)


def _pantry(name: str, url: str | None) -> "Pantry":
    if url is None:
        known: Pantry = _registry().get(name)
        return known
    from soupsearch.client import Client

    with Client(url) as client:
        return client.pantry(name)


@app.command("list")
def list_(url: Url = None, as_json: AsJson = False) -> None:
    """List the pantries.

    Example: `soupsearch pantry list --url http://127.0.0.1:8000`
    """
    from soupsearch.cli.tables import pantry_table, show

    if url is None:
        pantries = _registry().list()
    else:
        from soupsearch.client import Client

        with Client(url) as client:
            pantries = client.pantries()
    if as_json:
        typer.echo(json.dumps([pantry.model_dump(mode="json") for pantry in pantries], indent=2))
    else:
        show(pantry_table(pantries))


@app.command("show")
def show_(name: PantryName, url: Url = None) -> None:
    """Print a pantry as JSON: its ingredients, digests, and how each was trained.

    Example: `soupsearch pantry show fashion`
    """
    typer.echo(json.dumps(_pantry(name, url).model_dump(mode="json"), indent=2))


@app.command()
def remove(name: PantryName, url: Url = None) -> None:
    """Remove a pantry. Jobs that have ended keep their results and models.

    Example: `soupsearch pantry remove fashion`
    """
    if url is None:
        _refuse_beside_a_service()
        _registry().delete(name, lambda *_: nullcontext())
    else:
        from soupsearch.client import Client

        with Client(url) as client:
            client.remove_pantry(name)
    typer.echo(f"removed pantry {name}")


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file; see examples/recipes.")],
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="Write the pantry to DIR/NAME, where NAME is the recipe's name.")
    ] = Path("pantries"),
    *,
    data: DataFolder = None,
    overrides: Overrides = None,
    only: Annotated[list[str] | None, typer.Option(help="Train only this ingredient; may be repeated.")] = None,
    jobs: Annotated[
        int, typer.Option(help="Train this many fine-tunes at once, in processes, on GPUs or on the cluster.", min=1)
    ] = 1,
    device: Device = "auto",
    threads: Annotated[int, typer.Option(help="CPU threads per process; 0: its share of all cores.", min=0)] = 0,
    checkpoint_seconds: CheckpointSeconds = 30.0,
    tensorboard: Tensorboard = False,
    workers: TrainingWorkers = 1,
    ray_address: RayAddress = None,
    register: Annotated[
        bool, typer.Option("--register", help="Add the pantry under the recipe's name; --url implies it.")
    ] = False,
    url: Url = None,
) -> None:
    """Train all ingredients of a pantry, a robust base and its fine-tunes, and optionally register the pantry.

    Finished ingredients are kept; interrupted ones continue where they stopped.

    Example: `soupsearch pantry build examples/recipes/fashion-vit.yaml --jobs 3 --register`
    """
    from soupsearch.cli.building import build_with_progress, fine_tunes_of
    from soupsearch.cli.training import pantry_recipe_of

    parsed = pantry_recipe_of(recipe, data, overrides)
    register = register or url is not None
    if register and only:
        raise CommandError(
            "--register and --url add a whole pantry: leave out --only, or add the pantry later with pantry add"
        )
    options = {"checkpoint_seconds": checkpoint_seconds, "tensorboard": tensorboard, "on_measure": tell_measuring}
    at_once = min(jobs, fine_tunes_of(parsed, only))
    with training_shared(workers, ray_address, device=device, threads=threads, at_once=at_once) as train:
        built = build_with_progress(
            parsed,
            folder,
            only=only,
            jobs=at_once,
            device=own_device(device, train),
            threads=threads,
            options=options if train is None else {**options, "train": train},
        )
    typer.echo(f"built {', '.join(path.name for path in built)} in {built[0].parent}")
    for path in built:
        tell_masking(path)
    if register:
        _register(parsed.name, {path.name: path for path in built}, url)
    elif not only:
        folders = " ".join(shlex.quote(str(path)) for path in built)
        typer.echo(f"to search its soups, first run: soupsearch pantry add {parsed.name} {folders}")


def _register(name: str, ingredients: dict[str, Path], url: str | None) -> None:
    """Add the pantry that was built, unless the same pantry already exists."""
    from service.errors import PantryExists
    from soupsearch.client import ApiError

    try:
        pantry = _added(name, ingredients, url)
    except (PantryExists, ApiError) as error:
        if isinstance(error, ApiError) and error.problem.code != PantryExists.code:
            raise
        if not _is_registered(name, ingredients, url):
            raise CommandError(
                f"another pantry is called {name!r}: remove it, or give the recipe another name with --set name=OTHER"
            ) from error
        typer.echo(f"pantry {name} is already registered")
        return
    typer.echo(f"registered pantry {name} ({pantry.digest[:12]})")


def _is_registered(name: str, ingredients: dict[str, Path], url: str | None) -> bool:
    import hashlib

    built = []
    for ingredient, folder in ingredients.items():
        with (folder / "model.safetensors").open("rb") as file:
            built.append((ingredient, hashlib.file_digest(file, "sha256").hexdigest()))
    return built == [(each.name, each.sha256) for each in _pantry(name, url).ingredients]
