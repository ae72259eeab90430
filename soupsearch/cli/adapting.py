"""Commands that start jobs: ``adapt`` and ``suggest``."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from soupsearch.cli.jobs import at_service, followed, report
from soupsearch.cli.options import (
    DEFAULT_URL,
    AsJson,
    AttackSteps,
    LabelMapFile,
    LargerRadii,
    Losses,
    MinAccuracy,
    Out,
    OverThreats,
    Pareto,
    Restarts,
    Sets,
    Threats,
    Url,
)
from soupsearch.cli.search_options import (
    Among,
    Between,
    Bounded,
    ContinueFrom,
    Continuous,
    Convex,
    CurvePoints,
    DryRun,
    Evaluations,
    FitTemperature,
    Fixed,
    ForwardPasses,
    HeldOutShare,
    Interval,
    LabelNext,
    Lower,
    Metric,
    NoWait,
    OverSets,
    PrecisionName,
    Preset,
    Prior,
    Prune,
    RefineHead,
    RefineLayers,
    RefineStatistics,
    Seconds,
    Seed,
    Step,
    StrategyName,
    TopK,
    Upper,
)

if TYPE_CHECKING:
    from soupsearch.cli.requests import AskedRequest


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(adapt)
    app.command()(suggest)


def adapt(
    adaptation_set: Sets,
    *,
    pantry: Annotated[str, typer.Option(help="The pantry whose ingredients are mixed.")],
    url: Url = DEFAULT_URL,
    out: Out = None,
    preset: Preset = "auto",
    strategy: StrategyName = None,
    prune: Prune = False,
    continuous: Continuous = False,
    between: Between = None,
    points: CurvePoints = None,
    among: Among = None,
    evaluations: Evaluations = None,
    forward_passes: ForwardPasses = None,
    seconds: Seconds = None,
    interval: Interval = None,
    continue_from: ContinueFrom = None,
    lower: Lower = None,
    upper: Upper = None,
    step: Step = None,
    convex: Convex = False,
    metric: Metric = None,
    prior: Prior = None,
    label_next: LabelNext = 10,
    fix: Fixed = None,
    bound: Bounded = None,
    over_sets: OverSets = "mean",
    threat: Threats = None,
    over_threats: OverThreats = "union",
    attack_steps: AttackSteps = 40,
    loss: Losses = None,
    restarts: Restarts = 1,
    larger_radii: LargerRadii = False,
    min_accuracy: MinAccuracy = None,
    pareto: Pareto = False,
    label_map: LabelMapFile = None,
    held_out: HeldOutShare = 0.0,
    top_k: TopK = 5,
    refine_statistics: RefineStatistics = None,
    refine_head: RefineHead = None,
    temperature: FitTemperature = False,
    refine_layers: RefineLayers = None,
    precision: PrecisionName = "float32",
    seed: Seed = 0,
    dry_run: DryRun = False,
    no_wait: NoWait = False,
    as_json: AsJson = False,
) -> None:
    """Find the best soup for a few labelled images, show it beside its ingredients and download it.

    Example: `soupsearch adapt shifted.zip --pantry fashion --out model`

    Robust: `soupsearch adapt shifted.zip --pantry fashion --threat Linf:0.1 --threat L2:1.5 --min-accuracy 0.8`

    As in the paper: `soupsearch adapt shifted.zip --pantry fashion --preset paper`

    As good as before on clean images: `soupsearch adapt shifted.zip --pantry fashion --min-accuracy clean.zip=0.85`

    Without labels, which lie in the folder unlabelled/: `soupsearch adapt shifted.zip --pantry fashion --prior cat=0.7`
    """
    from soupsearch.cli.limits import limits
    from soupsearch.cli.objectives import Wanted, objective_fields
    from soupsearch.cli.requests import AskedRequest, given, search_fields, with_label_maps
    from soupsearch.client import Client

    wanted = Wanted(
        metric=metric,
        prior=prior or (),
        over_sets=over_sets,
        over_threats=over_threats,
        steps=attack_steps,
        losses=loss or ["ce"],
        restarts=restarts,
        larger_radii=larger_radii,
        min_accuracy=min_accuracy or (),
        pareto=pareto,
    )
    chosen = {"strategy": strategy, "prune": prune, "continue_from": continue_from, "points": points}
    lattice = {"lower": lower, "upper": upper, "step": step, "convex": convex, "continuous": continuous}
    names = {"between": between, "among": among}
    budget = {"evaluations": evaluations, "forward_passes": forward_passes, "seconds": seconds, "interval": interval}
    own = {"temperature": temperature, "layers": refine_layers}
    refine = given({"statistics": refine_statistics, "head": refine_head, **own})
    fields = {
        "pantry": pantry,
        "preset": preset,
        "search": search_fields(chosen | lattice, names, budget) | limits(fix or (), bound or ()),
        **({"refine": refine} if refine else {}),
        "precision": precision,
        "held_out_fraction": held_out,
        "top_k": top_k,
        "label_next": label_next,
        "seed": seed,
    }
    measured = objective_fields(threat or [], wanted, adaptation_set)
    sets = with_label_maps(wanted.every_set(adaptation_set), adaptation_set, label_map)
    asked = AskedRequest(fields, measured, sets)
    with Client(url) as client:
        if dry_run:
            _tell_cost(asked.send(client, client.estimate), as_json=as_json)
            return
        job = _accepted(client, asked)
        if no_wait:
            typer.echo(job.id)
            return
        job = followed(client, job.id, out, quiet=as_json)
    report(job, as_json=as_json)


def _accepted(client: Any, asked: "AskedRequest") -> Any:
    """The job of the request, once the service has accepted it. Ctrl-C leaves open whether it has."""
    try:
        return asked.send(client, client.adapt)
    except KeyboardInterrupt:
        typer.echo(f"\nsee whether the job was accepted already: soupsearch jobs{at_service(client)}", err=True)
        raise


def _tell_cost(estimate: Any, *, as_json: bool) -> None:
    if as_json:
        typer.echo(estimate.model_dump_json(indent=2))
        return
    time = "" if estimate.seconds is None else f", about {estimate.seconds:.3g} s of searching"
    typer.echo(f"at most {estimate.evaluations} soups and {estimate.forward_passes} forward passes{time}")
    for warning in estimate.warnings:
        typer.echo(f"warning: {warning.message}")


def suggest(
    adaptation_set: Sets,
    *,
    pantry: Annotated[str, typer.Option(help="The pantry whose soups are to be told apart.")],
    count: Annotated[int, typer.Option(help="How many images to name.", min=1, max=1000)] = 10,
    label_map: LabelMapFile = None,
    url: Url = DEFAULT_URL,
    as_json: AsJson = False,
) -> None:
    """Name the images whose labels would tell most about which soup is best.

    Example: `soupsearch suggest shifted.zip --pantry fashion --count 20`, with images in the folder unlabelled/
    """
    from soupsearch.cli.sets import read_label_map, set_sources
    from soupsearch.cli.tables import label_table, show
    from soupsearch.client import Client

    request: dict[str, Any] = {"pantry": pantry, "count": count}
    mapping = read_label_map(label_map)
    with Client(url) as client, set_sources(adaptation_set) as sources:
        if len(sources) == 1 and isinstance(sources[0], Path):
            request |= {"label_map": mapping} if mapping else {}
            begun = client.suggest_labels(request, sources[0])
        else:
            stored = [client.add_set(each, mapping).id if isinstance(each, Path) else each for each in sources]
            begun = client.suggest_labels(request | {"adaptation_sets": list(dict.fromkeys(stored))})
        job = followed(client, begun.id, None, quiet=as_json)
    if job.status != "succeeded" or job.result is None:
        report(job, as_json=as_json)
        return
    if as_json:
        typer.echo(job.model_dump_json(indent=2))
    else:
        show(label_table(job.result))
