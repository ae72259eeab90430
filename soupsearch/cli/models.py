"""Commands about models: ``evaluate``, ``reproduce``, ``demo``."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from soupsearch.cli.demo import demo
from soupsearch.cli.exits import CommandError
from soupsearch.cli.options import AsJson


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(evaluate)
    app.command()(reproduce)
    app.command()(demo)


def evaluate(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A timm folder: a soup or an ingredient.")],
    adaptation_set: Annotated[Path, typer.Argument(metavar="SET", help="zip, tar, tar.gz, npz or folder.")],
    *,
    label_map: Annotated[
        Path | None, typer.Option(help="JSON file that maps each class of the set to one or more classes of the model.")
    ] = None,
    threads: Annotated[int, typer.Option(help="CPU threads; 0: all cores.", min=0)] = 0,
    as_json: AsJson = False,
) -> None:
    """Score a model folder on labelled images, without a service: accuracy, its 95 % interval, likelihood.

    Example: `soupsearch evaluate model held_out.zip`
    """
    from soupsearch.cli.scoring import score_folder
    from soupsearch.cli.sets import read_label_map, set_archives

    with set_archives([str(adaptation_set)]) as (archives, _):
        if not archives:
            raise CommandError(f"{adaptation_set} is not a file or folder on this machine")
        score = score_folder(model, archives[0], read_label_map(label_map), threads=threads, quiet=as_json)
    if as_json:
        typer.echo(json.dumps(score.document()))
    else:
        typer.echo(score.sentence())


def reproduce(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="A model.safetensors that soupsearch merged.")],
    *,
    pantry: Annotated[
        Path | None,
        typer.Option(help="Folder of the pantry's ingredients; by default the pantry in the data folder."),
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the new copy of the soup to this file.")] = None,
) -> None:
    """Make a soup again from the recipe in its file and compare the bytes.

    Example: `soupsearch reproduce model/model.safetensors`
    """
    from workers.jobs.reproduce import reproduce as make_again

    with _pantry_folders(model, pantry) as folders:
        reproduction = make_again(model, folders)
    if out is not None:
        out.write_bytes(reproduction.content)
    if not reproduction.same:
        raise CommandError(
            f"the files differ: {model} has sha256 {reproduction.given}, its new copy {reproduction.made}"
        )
    typer.echo(f"the same soup, byte for byte: sha256 {reproduction.made}")


@contextmanager
def _pantry_folders(model: Path, pantry: Path | None) -> Iterator[dict[str, Path]]:
    from service.artifacts import open_store
    from service.errors import PantryNotFound
    from service.pantries.registry import PantryRegistry
    from service.settings import get_settings
    from workers.jobs.manifest import read_manifest

    manifest = read_manifest(model)
    if pantry is not None:
        yield {name: pantry / name for name in manifest.weights}
        return
    settings = get_settings()
    registry = PantryRegistry(open_store(settings), settings)
    try:
        stored = registry.open(manifest.pantry)
    except PantryNotFound as error:
        raise CommandError(
            f"the data folder {settings.data_dir} has no pantry {manifest.pantry!r}: give the folder of its "
            "ingredients with --pantry"
        ) from error
    with stored.artifact:
        yield dict(zip(manifest.weights, stored.folders, strict=True))
