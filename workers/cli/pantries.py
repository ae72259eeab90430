"""Commands about pantries: ``pantry add``, ``list``, ``show``, ``remove``."""

import json
from pathlib import Path
from typing import Annotated, Any

import typer

from workers.cli.exits import CommandError
from workers.cli.options import AsJson

app = typer.Typer(no_args_is_help=True, help="Add, list, show and remove pantries.")

Url = Annotated[
    str | None,
    typer.Option("--url", help="The service to call; without it, the data folder of this machine.", metavar="URL"),
]
PantryName = Annotated[str, typer.Argument(metavar="NAME", help="Letters, digits, dot, dash, underscore.")]


def _registry() -> Any:
    from service.artifacts.store import ArtifactStore
    from service.pantries.registry import PantryRegistry
    from service.settings import get_settings

    settings = get_settings()
    return PantryRegistry(ArtifactStore(settings.data_dir, settings), settings)


def _refuse_beside_a_service() -> None:
    """A running service knows which jobs need a pantry; the files alone do not."""
    from service.embedded.redis import EmbeddedRedis
    from service.settings import get_settings

    if EmbeddedRedis.is_locked(get_settings().data_dir):
        raise CommandError("a service runs on this data folder and its jobs may need the pantry: pass --url")


@app.command()
def add(
    name: PantryName,
    folders: Annotated[
        list[Path],
        typer.Argument(
            metavar="DIR...",
            help="Ingredients in order: timm folders (config.json and model.safetensors), or one folder of them. "
            "NAME=DIR names an ingredient otherwise than its folder.",
        ),
    ],
    config: Annotated[
        Path | None,
        typer.Option(help="config.json for ingredients that are state_dict files (.pt, .pth), which are converted."),
    ] = None,
    url: Url = None,
) -> None:
    """Add a pantry: 2 to 16 checkpoints of one architecture, checked whole, kept unchanged from then on.

    Example: `soupsearch pantry add fashion checkpoints/linf checkpoints/l2 clean=checkpoints/nominal`
    """
    from workers.cli.ingredients import gathered, packed

    with gathered(folders, config) as ingredients:
        if url is None:
            from workers.soups.verify import verify_folder

            pantry = _registry().add(name, ingredients, verify_folder)
        else:
            from service.client import Client

            with Client(url) as client, packed(ingredients) as archive:
                pantry = client.add_pantry({"name": name, "ingredients": list(ingredients)}, archive)
    typer.echo(f"added pantry {pantry.name}: {', '.join(i.name for i in pantry.ingredients)} ({pantry.digest[:12]})")


@app.command("list")
def list_(url: Url = None, as_json: AsJson = False) -> None:
    """List the pantries.

    Example: `soupsearch pantry list --url http://127.0.0.1:8000`
    """
    from workers.cli.tables import pantry_table, show

    if url is None:
        pantries = _registry().list()
    else:
        from service.client import Client

        with Client(url) as client:
            pantries = client.pantries()
    if as_json:
        typer.echo(json.dumps([pantry.model_dump(mode="json") for pantry in pantries], indent=2))
    else:
        show(pantry_table(pantries))


@app.command("show")
def show_(name: PantryName, url: Url = None) -> None:
    """Print a pantry as JSON: ingredients, digests, how each was trained.

    Example: `soupsearch pantry show fashion`
    """
    if url is None:
        pantry = _registry().get(name)
    else:
        from service.client import Client

        with Client(url) as client:
            pantry = client.pantry(name)
    typer.echo(json.dumps(pantry.model_dump(mode="json"), indent=2))


@app.command()
def remove(name: PantryName, url: Url = None) -> None:
    """Remove a pantry. Jobs that have ended keep their results and models.

    Example: `soupsearch pantry remove fashion`
    """
    if url is None:
        _refuse_beside_a_service()
        _registry().delete(name, in_use=lambda _: False)
    else:
        from service.client import Client

        with Client(url) as client:
            client.remove_pantry(name)
    typer.echo(f"removed pantry {name}")


@app.command()
def build(
    recipe: Annotated[Path, typer.Argument(metavar="RECIPE", help="YAML file; see examples/recipes.")],
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="The pantry is written to DIR/NAME-OF-THE-RECIPE.")],
    *,
    data: Annotated[Path | None, typer.Option(help="Folder of the training images, instead of the recipe's.")] = None,
    only: Annotated[list[str] | None, typer.Option(help="Train this ingredient alone; may be repeated.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)] = 0,
) -> None:
    """Train all ingredients of a pantry: a robust base and its fine-tunes.

    What is finished stays; what was interrupted goes on where it was.

    Example: `soupsearch pantry build examples/recipes/fashion-vit.yaml out/pantries`
    """
    from workers.cli.training import build_with_progress

    built = build_with_progress(recipe, folder, data=data, only=only, device=device, threads=threads)
    typer.echo(f"built {', '.join(path.name for path in built)} in {built[0].parent}")
