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
    """Run the service, find a soup for 100 shifted images, score it and its rivals on other images, stop the service.

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
        _add_pantry(client, ingredients)
        job = _adapted(client, {}, images / "adaptation.zip", out / "model")
        rivals = {"the best soup of the paper's grid": {"preset": "paper"}, **_refined_ingredient(job.result)}
        folders = {"soup": out / "model"}
        for place, (name, fields) in enumerate(rivals.items()):
            folders[name] = out / "data" / f"rival-{place}"
            _adapted(client, fields, images / "adaptation.zip", folders[name])
        folders |= {path.name: path for path in sorted(ingredients.iterdir()) if path.is_dir()}
        scores = _held_out_scores(folders, images / "held_out.zip")
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


def _add_pantry(client: Client, pantry: Path) -> None:
    from soupsearch.cli.ingredients import gathered, packed

    with gathered([pantry], None) as ingredients, packed(ingredients) as upload:
        client.add_pantry({"name": "fashion", "ingredients": list(ingredients)}, upload)
    typer.echo(f"added pantry fashion ({', '.join(ingredients)})")


def _adapted(client: Client, fields: dict[str, Any], archive: Path, out: Path) -> Any:
    """The job of a request with these fields, whose model is downloaded to ``out``."""
    from soupsearch.cli.jobs import fetch_model
    from soupsearch.cli.tables import follow

    request = {"pantry": "fashion", **fields}
    typer.echo(f"POST {json.dumps(request)} and {archive} to /adapt")
    job = follow(client, client.adapt(request, archive).id)
    if job.result is None:
        raise CommandError(f"the job ended as {job.status}: {job.error.message if job.error else 'no result'}")
    fetch_model(client, job.id, out)
    return job


def _refined_ingredient(result: Any) -> dict[str, dict[str, Any]]:
    """The request for the ingredient that is best after a refinement, by its name: what the soup has to beat."""
    refined = [result.baselines.adapted_statistics, result.baselines.refitted_head]
    known = [each for each in refined if each is not None]
    if not known:
        return {}
    name = min(known, key=lambda each: each.nll).ingredient
    return {f"{name}, refined": {"search": {"fixed": {each: float(each == name) for each in result.weights}}}}


def _held_out_scores(folders: dict[str, Path], archive: Path) -> dict[str, dict[str, Any]]:
    """Accuracy and negative log-likelihood of each model, loaded from its folder by timm."""
    from soupsearch.cli.scoring import score_folder

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
    show(table, f"soup weights: {weights_text(result.weights)}", result.summary)
