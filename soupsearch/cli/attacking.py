"""The command about attacks: ``attack``."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soupsearch.cli.exits import CommandError
from soupsearch.cli.options import AsJson, Device, Threads

if TYPE_CHECKING:
    from torch import Tensor, nn

    from workers.attacks.attack import Attack
    from workers.attacks.masking import MaskingCheck
    from workers.attacks.robustness import RobustAccuracy
    from workers.evaluation.sets import EncodedSet


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(attack)


def attack(
    model: Annotated[Path, typer.Argument(metavar="MODEL_DIR", help="A timm folder: a soup or an ingredient.")],
    adaptation_set: Annotated[Path, typer.Argument(metavar="SET", help="zip, tar, tar.gz, npz or folder.")],
    *,
    threat: Annotated[
        list[str],
        typer.Option(help="NORM:EPS in units of the pixel range: Linf:8/255, L2:0.5, L1:12; may be repeated."),
    ],
    loss: Annotated[
        list[str] | None, typer.Option(help="ce (default), dlr, targeted-ce or targeted-dlr; may be repeated.")
    ] = None,
    steps: Annotated[int, typer.Option(help="Steps of a run.")] = 40,
    seeds: Annotated[
        int, typer.Option(help="Number of seeds to attack from, counted from 0; one figure each.", min=1)
    ] = 5,
    restarts: Annotated[int, typer.Option(help="Runs from random starts for each seed and target.")] = 1,
    targets: Annotated[
        int, typer.Option(help="Targeted losses: largest number of target classes, likeliest first.")
    ] = 9,
    larger_radii: Annotated[
        bool, typer.Option("--larger-radii", help="L1: spend the first six tenths of the steps at larger radii.")
    ] = False,
    label_map: Annotated[
        Path | None, typer.Option(help="JSON file that maps each class of the set to one or more classes of the model.")
    ] = None,
    batch_size: Annotated[int, typer.Option(help="Images attacked at once; does not change the result.", min=1)] = 256,
    device: Device = "auto",
    threads: Threads = 0,
    check_masking: Annotated[
        bool, typer.Option("--check-masking", help="Also warn where stronger attacks find much more: masked gradients.")
    ] = False,
    save: Annotated[Path | None, typer.Option(help="Save the adversarial images to this .npz file or folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Attack a model folder by APGD. Shows clean accuracy, and robust accuracy under each threat and under their union.

    Example: `soupsearch attack model held_out.zip --threat Linf:0.1 --threat L2:1.5 --loss ce --loss targeted-dlr`
    """
    from soupsearch.cli.sets import read_label_map, set_archives

    attacks = _attacks(threat, loss or ["ce"], steps, restarts, targets, larger_radii=larger_radii)
    kept = None if save is None else _writable_path(save)
    with set_archives([str(adaptation_set)]) as (archives, _):
        if not archives:
            raise CommandError(f"{adaptation_set} is not a file or folder on this machine")
        classifier, images, labels = _problem(
            model, archives[0], read_label_map(label_map), device=device, threads=threads
        )
    if kept is not None:
        from workers.attacks.adversarial_file import check_room

        check_room(kept, images, attacks=len(attacks), seeds=seeds)
    found = _attacked(
        classifier, images, labels, attacks, seeds=seeds, batch_size=batch_size, keep=kept is not None, quiet=as_json
    )
    checks = (
        _checked(classifier, images, labels, threat, steps=steps, batch_size=batch_size, quiet=as_json)
        if check_masking
        else []
    )
    if as_json:
        checked = {"masking": [check.as_json() for check in checks]} if check_masking else {}
        typer.echo(json.dumps({**found.as_json(), **checked}))
    else:
        _show(found, len(labels))
        _show_checks(checks)
    if kept is not None:
        from workers.attacks.adversarial_file import save_adversarial

        save_adversarial(kept, found, images, labels, seeds=range(seeds))
        typer.echo(f"wrote {kept}", err=as_json)


def _attacks(
    threats: list[str], losses: list[str], steps: int, restarts: int, targets: int, *, larger_radii: bool
) -> "list[Attack]":
    from workers.attacks.attack import attacks_on
    from workers.attacks.threat import Threat

    named: Any = losses
    try:
        attacks = attacks_on(
            [Threat.parse(text) for text in threats],
            named,
            steps=steps,
            restarts=restarts,
            targets=targets,
            larger_radii=larger_radii,
        )
    except ValueError as error:
        raise CommandError(str(error)) from error
    if larger_radii and not any(attack.larger_radii for attack in attacks):
        raise CommandError("--larger-radii only applies to L1: add a --threat L1:EPS, or leave it out")
    return attacks


def _writable_path(save: Path) -> Path:
    from workers.attacks.adversarial_file import prepare_path

    return prepare_path(save)


def _problem(
    folder: Path, archive: Path, label_map: dict[str, Any] | None, *, device: str, threads: int
) -> "tuple[nn.Module, Tensor, Tensor]":
    """The model with its normalisation inside, the images (N, C, H, W) in [0, 1], and their labels (N,)."""
    import torch

    from soupsearch.cli.devices import torch_device
    from soupsearch.cli.scoring import encoded_set, loaded_folder
    from workers.attacks.model import ColumnModel, NormalizedModel
    from workers.evaluation.preprocess import DataConfig

    if threads:
        torch.set_num_threads(threads)
    network = loaded_folder(folder).to(torch_device(device)).to(memory_format=torch.channels_last)
    content = encoded_set(folder, archive, label_map)
    config = DataConfig.of_model(network)
    normalised = NormalizedModel(network, config.mean, config.std)
    classifier = normalised if content.space.is_plain else ColumnModel(normalised, content.space.columns)
    return classifier.eval(), torch.from_numpy(content.images).float() / 255, torch.tensor(_labels(content))


def _labels(content: "EncodedSet") -> list[int]:
    several = sum(len(accepted) > 1 for accepted in content.labels)
    if several:
        raise CommandError(
            f"{several} of {len(content)} images have several accepted labels, and an attack leads away from one: "
            "keep one label per image, for instance with a label_map that merges the classes that are both right"
        )
    return [accepted[0] for accepted in content.labels]


def _attacked(
    classifier: "nn.Module",
    images: "Tensor",
    labels: "Tensor",
    attacks: "Sequence[Attack]",
    *,
    seeds: int,
    batch_size: int,
    keep: bool,
    quiet: bool,
) -> "RobustAccuracy":
    from soupsearch.cli.bars import Bars
    from workers.attacks.robustness import robust_accuracy

    with Bars(lines=not quiet) as progress:
        bar = progress.add_task("attacking", total=1.0)
        try:
            return robust_accuracy(
                classifier,
                images,
                labels,
                attacks,
                seeds=range(seeds),
                batch_size=batch_size,
                keep_points=keep,
                on_progress=lambda share: progress.update(bar, completed=share),
            )
        except ValueError as error:
            raise CommandError(str(error)) from error


def _checked(
    classifier: "nn.Module",
    images: "Tensor",
    labels: "Tensor",
    threats: list[str],
    *,
    steps: int,
    batch_size: int,
    quiet: bool,
) -> "list[MaskingCheck]":
    from soupsearch.cli.bars import Bars
    from workers.attacks.masking import check_masking
    from workers.attacks.threat import Threat

    with Bars(lines=not quiet) as progress:
        bar = progress.add_task("checking for masked gradients", total=1.0)
        return check_masking(
            classifier,
            images,
            labels,
            [Threat.parse(text) for text in threats],
            steps=steps,
            batch_size=batch_size,
            on_progress=lambda share: progress.update(bar, completed=share),
        )


def _show_checks(checks: "Sequence[MaskingCheck]") -> None:
    from rich.table import Table

    from soupsearch.cli.tables import show

    for check in checks:
        table = Table(title=f"{check.threat}: signs of masked gradients on {check.images} images", title_justify="left")
        for column in ("change", "plain attack", "changed attack", ""):
            table.add_column(column)
        for each in check.comparisons:
            sign = "masked?" if each.is_suspicious else ""
            table.add_row(each.change, f"{each.plain:.1%}", f"{each.stronger:.1%}", sign)
        show(table)
        for warning in check.warnings:
            typer.echo(f"warning: {warning}", err=True)


def _show(found: "RobustAccuracy", images: int) -> None:
    from rich.table import Table

    from soupsearch.cli.tables import show

    document = found.as_json()
    seeds = str(len(document["union"]))
    table = Table(title=f"clean accuracy {document['clean']:.1%} on {images} images", title_justify="left")
    for column in ("threat", "APGD", "seeds", "robust (mean)", "least", "most", "seconds"):
        table.add_column(column)
    for result, entry in zip(found.threats, document["threats"], strict=True):
        table.add_row(
            str(result.attack.threat), _named(entry), seeds, *_spread(entry["robust"]), f"{entry['seconds']:.1f}"
        )
    table.add_row("union", "all", seeds, *_spread(document["union"]), "", style="bold")
    show(table)


def _named(entry: dict[str, Any]) -> str:
    """The attack in words, as it should stand beside a figure."""
    restarts = f", {entry['restarts']} restarts" if entry["restarts"] > 1 else ""
    targets = f", at most {entry['targets']} targets" if "targets" in entry else ""
    radii = ", larger radii" if entry["larger_radii"] else ""
    return f"{entry['loss']}, {entry['steps']} steps{restarts}{targets}{radii}"


def _spread(shares: list[float]) -> tuple[str, str, str]:
    return f"{sum(shares) / len(shares):.1%}", f"{min(shares):.1%}", f"{max(shares):.1%}"
