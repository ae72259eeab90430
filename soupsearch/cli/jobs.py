"""Commands about jobs that were started: ``follow``, ``download``, ``jobs``, ``cancel`` and others."""

from pathlib import Path
from typing import Annotated, Any

import typer

from soupsearch.cli.exits import REFUSED, CommandError
from soupsearch.cli.options import DEFAULT_URL, AsJson, Out, Url

JobId = Annotated[str, typer.Argument(metavar="ID", help="The job's id.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(follow)
    app.command()(download)
    app.command()(jobs)
    app.command()(pause)
    app.command()(resume)
    app.command()(cancel)


def follow(job_id: JobId, out: Out = None, url: Url = DEFAULT_URL, as_json: AsJson = False) -> None:
    """Watch a job until it ends and show its result, as `adapt` does.

    Example: `soupsearch follow ID --out model`, when `adapt` was interrupted, or told not to wait
    """
    from soupsearch.client import Client

    with Client(url) as client:
        client.job(job_id)
        job = followed(client, job_id, out, quiet=as_json)
    report(job, as_json=as_json)


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
            typer.echo(f"Go on with it: soupsearch resume {job.id}{at_service(client)}")


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


def followed(client: Any, job_id: str, out: Path | None, *, quiet: bool) -> Any:
    """Wait until the job has ended and write its soup, if it has one, to ``out``. Ctrl-C leaves it running."""
    from soupsearch.cli import tables

    if not quiet:
        typer.echo(f"job {job_id}: {client.url}/jobs/{job_id}/view", err=True)
    try:
        job = tables.follow(client, job_id, quiet=quiet)
    except KeyboardInterrupt:
        at = at_service(client)
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


def report(job: Any, *, as_json: bool) -> None:
    """Print a job that has ended. Raises CommandError if it failed, and typer.Exit if it did not succeed."""
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


def at_service(client: Any) -> str:
    """The option with which another command reaches the same service."""
    return "" if client.url == DEFAULT_URL else f" --url {client.url}"
