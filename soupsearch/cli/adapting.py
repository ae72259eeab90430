"""Commands about jobs: ``adapt``, ``suggest``, ``follow``, ``download``, ``jobs``, ``cancel`` and others."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from soupsearch.cli.exits import REFUSED, CommandError
from soupsearch.cli.options import (
    DEFAULT_URL,
    AsJson,
    AttackSteps,
    LabelMapFile,
    LargerRadii,
    Losses,
    MinAccuracy,
    OverThreats,
    Pareto,
    Restarts,
    Sets,
    Threats,
    Url,
)

Out = Annotated[
    Path | None, typer.Option(help="Folder to write the merged model to, as timm loads it; with result.json.")
]
JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(adapt)
    app.command()(suggest)
    app.command()(follow)
    app.command()(download)
    app.command()(jobs)
    app.command()(pause)
    app.command()(resume)
    app.command()(cancel)


def adapt(
    adaptation_set: Sets,
    *,
    pantry: Annotated[str, typer.Option(help="The pantry whose ingredients are mixed.")],
    url: Url = DEFAULT_URL,
    out: Out = None,
    preset: Annotated[
        str,
        typer.Option(
            help="What options left out stand for. auto: the best model, found by likelihood and refined. paper: the "
            "best of all soups by accuracy, as it is."
        ),
    ] = "auto",
    strategy: Annotated[
        str | None,
        typer.Option(
            help="grid: every soup. bayes: few, to find one about as good. "
            "Or auto, race, gradient, curve, simplex, greedy, random, uniform: see docs/search.md."
        ),
    ] = None,
    prune: Annotated[
        bool,
        typer.Option(
            "--prune",
            help="For grid: drop soups that cannot be among the best, and refine none: the grid's answer for less.",
        ),
    ] = False,
    between: Annotated[str | None, typer.Option(metavar="NAME,NAME", help="For curve: the two ingredients.")] = None,
    points: Annotated[int | None, typer.Option(help="For curve: how many soups (10).")] = None,
    among: Annotated[
        str | None, typer.Option(metavar="NAME,NAME,...", help="For simplex: the ingredients, by default all.")
    ] = None,
    evaluations: Annotated[int | None, typer.Option(help="Most soups to try.")] = None,
    forward_passes: Annotated[
        int | None, typer.Option(help="Most forward passes of one image by the soups tried.")
    ] = None,
    seconds: Annotated[float | None, typer.Option(help="Longest time to search.")] = None,
    interval: Annotated[
        float | None, typer.Option(help="Stop once no soup proposed together is likely to be better by this.")
    ] = None,
    continue_from: Annotated[
        str | None,
        typer.Option(
            metavar="ID", help="Go on from the soups of a job that has ended; they count among the --evaluations."
        ),
    ] = None,
    lower: Annotated[float | None, typer.Option(help="Least weight of an ingredient (-0.4).")] = None,
    upper: Annotated[float | None, typer.Option(help="Greatest weight of an ingredient (1.4).")] = None,
    step: Annotated[float | None, typer.Option(help="Distance between neighbouring weights (0.2).")] = None,
    convex: Annotated[bool, typer.Option("--convex", help="Only weights in [0, 1].")] = False,
    metric: Annotated[
        str | None,
        typer.Option(help="What soups are scored by without --threat: nll, accuracy, mutual_information or auto."),
    ] = None,
    prior: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=SHARE",
            help="How common a class is among images without a label, for mutual_information. Repeatable; the classes "
            "left out share the rest.",
        ),
    ] = None,
    label_next: Annotated[int, typer.Option(help="How many images without a label to name for labelling.")] = 10,
    fix: Annotated[
        list[str] | None, typer.Option(metavar="NAME=WEIGHT", help="Keep an ingredient at this weight. Repeatable.")
    ] = None,
    bound: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=LOW:HIGH", help="Keep an ingredient's weight within bounds. Repeatable."),
    ] = None,
    over_sets: Annotated[str, typer.Option(help="How several sets count: mean or worst.")] = "mean",
    threat: Threats = None,
    over_threats: OverThreats = "union",
    attack_steps: AttackSteps = 40,
    loss: Losses = None,
    restarts: Restarts = 1,
    larger_radii: LargerRadii = False,
    min_accuracy: MinAccuracy = None,
    pareto: Pareto = False,
    label_map: LabelMapFile = None,
    held_out: Annotated[
        float, typer.Option(help="Share of the images to keep out of the selection and score the soup on.")
    ] = 0.0,
    top_k: Annotated[int, typer.Option(help="How many of the best soups the result lists.")] = 5,
    refine_statistics: Annotated[
        str | None, typer.Option(help="BatchNorm statistics of every soup: source, adapted to the images, or auto.")
    ] = None,
    refine_head: Annotated[
        str | None, typer.Option(help="Last layer of every soup: keep, refit to the labels, or auto.")
    ] = None,
    temperature: Annotated[
        bool, typer.Option("--temperature", help="Also fit a temperature, if it makes the labels likelier.")
    ] = False,
    refine_layers: Annotated[
        str | None,
        typer.Option(help="Weights of the best soup's layers: one, the same in all; or auto, their own if better."),
    ] = None,
    precision: Annotated[str, typer.Option(help="float32 or bfloat16 forward passes.")] = "float32",
    seed: Annotated[int, typer.Option(help="Seed of the held-out split, the attacks and the bootstrap.")] = 0,
    dry_run: Annotated[
        bool,
        typer.Option("--dry-run", help="Only check the request and say what it would cost. Several sets are stored."),
    ] = False,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Print the job's id and return immediately.")] = False,
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
    budget = _given(
        {"evaluations": evaluations, "forward_passes": forward_passes, "seconds": seconds, "interval": interval}
    )
    search = {
        "strategy": strategy,
        "prune": prune,
        "continue_from": continue_from,
        "between": between and between.split(","),
        "points": points,
        "among": among and among.split(","),
        "lower": lower,
        "upper": upper,
        "step": step,
        "convex": convex,
        "budget": budget or None,
    }
    refine = {
        "statistics": refine_statistics,
        "head": refine_head,
        "temperature": temperature,
        "layers": refine_layers,
    }
    request = {
        "pantry": pantry,
        "preset": preset,
        "search": _given(search) | limits(fix or (), bound or ()),
        **({"refine": _given(refine)} if _given(refine) else {}),
        "precision": precision,
        "held_out_fraction": held_out,
        "top_k": top_k,
        "label_next": label_next,
        "seed": seed,
    }
    fields = objective_fields(threat or [], wanted, adaptation_set)
    sets = _mapped(wanted.every_set(adaptation_set), adaptation_set, label_map)
    with Client(url) as client:
        if dry_run:
            _tell_cost(_sent(client.estimate, client, request, fields, sets), as_json=as_json)
            return
        try:
            job = _sent(client.adapt, client, request, fields, sets)
        except KeyboardInterrupt:
            typer.echo(f"\nsee whether the job was accepted already: soupsearch jobs{_at(client)}", err=True)
            raise
        if no_wait:
            typer.echo(job.id)
            return
        job = _followed(client, job.id, out, quiet=as_json)
    _report(job, as_json=as_json)


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
        job = _followed(client, begun.id, None, quiet=as_json)
    if job.status != "succeeded" or job.result is None:
        _report(job, as_json=as_json)
        return
    if as_json:
        typer.echo(job.model_dump_json(indent=2))
    else:
        show(label_table(job.result))


def _at(client: Any) -> str:
    """The option with which another command reaches the same service."""
    return "" if client.url == DEFAULT_URL else f" --url {client.url}"


def follow(job_id: JobId, out: Out = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Watch a job until it ends and show its result, as `adapt` does.

    Example: `soupsearch follow ID --out model`, when `adapt` was interrupted, or told not to wait
    """
    from soupsearch.client import Client

    with Client(url) as client:
        client.job(job_id)
        job = _followed(client, job_id, out, quiet=as_json)
    _report(job, as_json=as_json)


def _mapped(names: list[str], scored: list[str], label_map: Path | None) -> dict[str, dict[str, Any] | None]:
    """Each set with the label map to send; a set that only a constraint names keeps its own."""
    from soupsearch.cli.sets import read_label_map

    mapping = read_label_map(label_map)
    return {name: mapping if name in scored else None for name in names}


def _given(options: dict[str, Any]) -> dict[str, Any]:
    """The options that were given."""
    return {name: value for name, value in options.items() if value is not None and value is not False}


def _followed(client: Any, job_id: str, out: Path | None, *, quiet: bool) -> Any:
    """Wait until the job has ended and write its soup, if it has one, to ``out``. Ctrl-C leaves it running."""
    from soupsearch.cli import tables

    if not quiet:
        typer.echo(f"job {job_id}: {client.url}/jobs/{job_id}/view", err=True)
    try:
        job = tables.follow(client, job_id, quiet=quiet)
    except KeyboardInterrupt:
        at = _at(client)
        typer.echo(
            f"\njob {job_id} goes on. Watch it: soupsearch follow {job_id}{at}\n"
            f"Stop it: soupsearch cancel {job_id}{at}",
            err=True,
        )
        raise
    if out is not None and job.result is not None:
        fetch_model(client, job.id, out)
        (out / "result.json").write_text(job.model_dump_json(indent=2))
        if not quiet:
            typer.echo(f"wrote {out}", err=True)
    return job


def _report(job: Any, *, as_json: bool) -> None:
    from soupsearch.cli.tables import result_tables, show

    if as_json:
        typer.echo(job.model_dump_json(indent=2))
    elif job.result is not None:
        show(*result_tables(job), job.result.summary)
        cost = job.result.cost
        passes = f"{cost.forward_passes} forward passes of the grid's {cost.grid_forward_passes}"
        typer.echo(f"job {job.id}: {cost.evaluations} soups, {passes}, {cost.seconds:.0f} s", err=True)
    if job.error is not None:
        raise CommandError(f"job {job.id} failed: {job.error.message}")
    if job.status != "succeeded":
        raise typer.Exit(REFUSED)


def _tell_cost(estimate: Any, *, as_json: bool) -> None:
    if as_json:
        typer.echo(estimate.model_dump_json(indent=2))
        return
    time = "" if estimate.seconds is None else f", about {estimate.seconds:.3g} s of searching"
    typer.echo(f"at most {estimate.evaluations} soups and {estimate.forward_passes} forward passes{time}")
    for warning in estimate.warnings:
        typer.echo(f"warning: {warning.message}")


def _sent(
    call: Callable[..., Any], client: Any, request: dict[str, Any], fields: dict[str, Any], sets: dict[str, Any]
) -> Any:
    """What ``call`` answers to the request with its one set, or to one that names several, which are stored first.

    Sets are stored with their label maps.
    """
    from soupsearch.cli.objectives import with_ids
    from soupsearch.cli.sets import set_sources

    with set_sources(list(sets)) as sources:
        pairs = list(zip(sources, sets.values(), strict=True))
        source, mapping = pairs[0]
        if len(pairs) == 1 and isinstance(source, Path):
            return call(request | fields | ({"label_map": mapping} if mapping else {}), source)
        stored = [client.add_set(each, labels).id if isinstance(each, Path) else each for each, labels in pairs]
    ids = dict(zip(sets, stored, strict=True))
    return call(request | with_ids(fields, ids) | {"adaptation_sets": list(dict.fromkeys(ids.values()))})


def download(
    job_id: JobId,
    *,
    out: Annotated[Path, typer.Option(help="Folder for the merged model, which timm can load.")],
    point: Annotated[
        str | None,
        typer.Option(
            metavar="INDEX|best",
            help="Another soup that the job tried, for instance one on its front; or the best so far.",
        ),
    ] = None,
    url: Url = DEFAULT_URL,
) -> None:
    """Download a job's soup, or another soup that it tried, which a worker first merges.

    Example: `soupsearch download ID --point 17 --out model`

    While the job runs: `soupsearch download ID --point best --out model`
    """
    from soupsearch.client import Client

    if point is not None and point != "best" and not point.isdecimal():
        raise CommandError(f"--point {point}: give the index of a point, or best")
    with Client(url) as client:
        fetch_model(client, job_id, out, point)
    typer.echo(f"wrote {out}")


def fetch_model(client: Any, job_id: str, out: Path, point: str | None = None) -> None:
    """Download a job's soup, or that of one of its points, into ``out`` as a timm folder."""
    import zipfile
    from tempfile import TemporaryDirectory

    out.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix="soupsearch-") as scratch:
        archive = Path(scratch) / "model.zip"
        client.download_timm(job_id, archive, point)
        with zipfile.ZipFile(archive) as content:
            for member in ("config.json", "model.safetensors"):
                inside = next(name for name in content.namelist() if Path(name).name == member)
                with content.open(inside) as source, (out / member).open("wb") as target:
                    while chunk := source.read(2**20):
                        target.write(chunk)


def jobs(
    url: Url = DEFAULT_URL,
    status: Annotated[str | None, typer.Option(help="Only jobs with this status.")] = None,
    limit: Annotated[int, typer.Option(help="List at most this many, newest first.", min=1, max=200)] = 20,
    as_json: AsJson = False,
) -> None:
    """List the jobs, newest first.

    Example: `soupsearch jobs --status running`
    """
    from soupsearch.cli.tables import job_table, show
    from soupsearch.client import Client

    with Client(url) as client:
        page = client.jobs(limit=limit, status=status)
    if as_json:
        typer.echo(page.model_dump_json(indent=2))
    else:
        show(job_table(page.items))


def pause(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Put a job aside, with what it has found, and let others run.

    Example: `soupsearch pause ID`, with an id from `soupsearch jobs`
    """
    from soupsearch.client import Client

    with Client(url) as client:
        job = client.pause(job_id)
        typer.echo(f"job {job.id} is {job.status}")
        if job.status == "paused":
            typer.echo(f"Go on with it: soupsearch resume {job.id}{_at(client)}")


def resume(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Let a paused job wait for its turn again; then it goes on where it was.

    Example: `soupsearch resume ID`
    """
    from soupsearch.client import Client

    with Client(url) as client:
        job = client.resume(job_id)
    typer.echo(f"job {job.id} is {job.status}")


def cancel(job_id: JobId, url: Url = DEFAULT_URL) -> None:
    """Stop a job and keep its best soup so far.

    Example: `soupsearch cancel ID`, with an id from `soupsearch jobs`
    """
    from soupsearch.client import Client

    with Client(url) as client:
        job = client.cancel(job_id)
    typer.echo(f"job {job.id} is {job.status}")
