"""Commands about models: ``evaluate``, ``reproduce``, ``demo``."""

import json
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from soupsearch.cli.demo import demo
from soupsearch.cli.exits import CommandError
from soupsearch.cli.options import AsJson

if TYPE_CHECKING:
    from service.adaptation_sets.stored import StoredSet


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
    adaptation_set: Annotated[
        list[Path] | None,
        typer.Option(
            help="A set that the soup was refined on: zip, tar, tar.gz, npz or folder. By default the set in the data "
            "folder; not needed for a soup that was not refined. May be given several times."
        ),
    ] = None,
    label_map: Annotated[
        Path | None, typer.Option(help="JSON file with the label map of these sets, if the job's request had none.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="Write the new copy of the soup to this file.")] = None,
) -> None:
    """Make a soup again from the recipe in its file and compare the bytes.

    Example: `soupsearch reproduce model/model.safetensors`

    Refined: `soupsearch reproduce model/model.safetensors --adaptation-set shifted.zip`
    """
    from workers.jobs.reproduce import reproduce as make_again

    with _pantry_folders(model, pantry) as folders, _sets(model, adaptation_set or [], label_map) as sets:
        reproduction = make_again(model, folders, sets)
    if out is not None:
        out.write_bytes(reproduction.content)
    if not reproduction.same:
        hint = "; a refined soup needs a CPU and a PyTorch like those that refined it" if reproduction.refined else ""
        raise CommandError(
            f"the files differ: {model} has sha256 {reproduction.given}, its new copy {reproduction.made}{hint}"
        )
    typer.echo(f"the same soup, byte for byte: sha256 {reproduction.made}")


@contextmanager
def _sets(model: Path, given: list[Path], label_map: Path | None) -> Iterator[list["StoredSet"]]:
    """The sets that the soup of ``model`` was refined on: those given, else those in the data folder."""
    from service.adaptation_sets.registry import SetRegistry
    from service.artifacts import open_store
    from service.errors import SetNotFound
    from service.settings import get_settings
    from soupsearch.cli.scoring import local_set
    from soupsearch.cli.sets import read_label_map, set_archives
    from workers.jobs.manifest import read_manifest

    manifest = read_manifest(model)
    mapping = read_label_map(label_map) or manifest.request.label_map
    with ExitStack() as stack:
        archives, _ = stack.enter_context(set_archives([str(path) for path in given]))
        found = [stack.enter_context(local_set(archive, mapping)) for archive in archives]
        for path, stored in zip(given, found, strict=True):
            if stored.digest not in manifest.adaptation_sets:
                raise CommandError(
                    f"{path} has other images, classes or label map than the sets of {model}: its id is "
                    f"{stored.digest}, theirs are {', '.join(manifest.adaptation_sets)}"
                )
        if manifest.refinement is not None and not found:
            settings = get_settings()
            registry = SetRegistry(open_store(settings), settings)
            for digest in manifest.adaptation_sets:
                with suppress(SetNotFound):
                    found.append(registry.open(digest))
        yield found


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
