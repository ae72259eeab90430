"""The demo: everything a user does, on the shipped examples."""

import json
import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from soupsearch.cli.exits import CommandError
from soupsearch.client import Client


def demo(
    out: Annotated[Path, typer.Option(help="Folder for result.json and model/, which are replaced.")] = Path(
        "out/demo"
    ),
    examples: Annotated[Path, typer.Option(help="The examples folder of a checkout.")] = Path("examples"),
    pantry: Annotated[str, typer.Option(help="A pantry from the examples.")] = "fashion-vit",
    shift: Annotated[str, typer.Option(help="A shift from the examples.")] = "fashion-low-contrast",
) -> None:
    """Run the service, find a soup for 100 shifted images, score it on other images of that shift, stop the service.

    Example: `soupsearch demo --shift fashion-rotation`, in a checkout
    """
    from service.settings import Settings
    from soupsearch.embedded.service import EmbeddedService

    ingredients, images = examples / "pantries" / pantry, examples / "sets" / shift
    for needed in (ingredients, images / "adaptation.zip", images / "held_out.zip"):
        if not needed.exists():
            raise CommandError(
                f"{needed} is missing: run the demo in a checkout, or name its examples, --examples CHECKOUT/examples"
            )
    _make_room(out)
    typer.echo("starting Redis, Ray, one worker and the API ...")
    with (
        EmbeddedService(Settings(data_dir=out / "data", port=0)) as service,
        Client(service.url) as client,
    ):
        typer.echo(f"the service listens at {service.url}; follow the job on its page")
        job = _searched(client, ingredients, images / "adaptation.zip", out)
    scores = _held_out_scores(ingredients, out / "model", images / "held_out.zip")
    document = {"job": job.model_dump(mode="json"), "shift": shift, "held_out": scores}
    (out / "result.json").write_text(json.dumps(document, indent=2))
    shutil.rmtree(out / "data")
    _show(job.result, scores, shift)
    typer.echo(f"wrote {out / 'result.json'} and {out / 'model'}")


def _make_room(out: Path) -> None:
    """Remove what an earlier demo left in ``out`` and nothing else, because the folder may hold other files."""
    for name in ("data", "model"):
        shutil.rmtree(out / name, ignore_errors=True)
    (out / "result.json").unlink(missing_ok=True)
    out.mkdir(parents=True, exist_ok=True)


def _searched(client: Client, pantry: Path, archive: Path, out: Path) -> Any:
    from soupsearch.cli.adapting import fetch_model
    from soupsearch.cli.ingredients import gathered, packed
    from soupsearch.cli.tables import follow

    with gathered([pantry], None) as ingredients, packed(ingredients) as upload:
        client.add_pantry({"name": "fashion", "ingredients": list(ingredients)}, upload)
    typer.echo(f"added pantry fashion ({', '.join(ingredients)}); POST {archive} to /adapt")
    job = follow(client, client.adapt({"pantry": "fashion"}, archive).id)
    if job.result is None:
        raise CommandError(f"the job ended as {job.status}: {job.error.message if job.error else 'no result'}")
    fetch_model(client, job.id, out / "model")
    return job


def _held_out_scores(pantry: Path, soup: Path, archive: Path) -> dict[str, dict[str, Any]]:
    """Accuracy and negative log-likelihood of the soup and each ingredient, each loaded from its folder by timm."""
    from soupsearch.cli.scoring import score_folder

    folders = {"soup": soup} | {path.name: path for path in sorted(pantry.iterdir()) if path.is_dir()}
    return {name: score_folder(folder, archive).document() for name, folder in folders.items()}


def _show(result: Any, scores: dict[str, dict[str, Any]], shift: str) -> None:
    from rich.table import Table

    from soupsearch.cli.tables import show, weights_text

    images = next(iter(scores.values()))["images"]
    table = Table(title=f"{shift}: accuracy on {images} held-out images", title_justify="left")
    for column in ("model", "held-out accuracy", "nll"):
        table.add_column(column)
    best = max(score["accuracy"] for score in scores.values())
    for name, score in sorted(scores.items(), key=lambda item: -item[1]["accuracy"]):
        style = "bold green" if score["accuracy"] == best else None
        table.add_row(name, f"{score['accuracy']:.1%}", f"{score['nll']:.3f}", style=style)
    show(table, f"soup weights: {weights_text(result.weights)}")
