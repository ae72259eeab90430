"""Commands that run the service: ``serve``, ``api``, ``worker``."""

import socket
from pathlib import Path
from typing import Annotated, Any

import typer

from service.settings import Settings, get_settings
from soupsearch.cli.exits import CommandError

Port = Annotated[int | None, typer.Option(help="Port of the API; 0 picks a free one.", min=0, max=65535)]
Host = Annotated[str | None, typer.Option(help="Address the API listens on; localhost by default.")]
DataDir = Annotated[Path | None, typer.Option(help="Folder of pantries, adaptation sets, models and jobs.")]
Parent = Annotated[int | None, typer.Option(hidden=True, help="End when this parent process ends.")]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(serve)
    app.command()(api)
    app.command()(worker)


def _settings(**given: Any) -> Settings:
    return Settings(**(get_settings().model_dump() | {key: value for key, value in given.items() if value is not None}))


def _end_with(parent: int | None) -> None:
    from service.parent_death import die_with_parent

    if parent is not None:
        die_with_parent(parent)


def serve(host: Host = None, port: Port = None, data_dir: DataDir = None) -> None:
    """Run everything on this machine: a private Redis, a local Ray, one worker and the API. Ctrl-C stops all of it.

    Example: `soupsearch serve --port 8080 --data-dir ~/soups`
    """
    from soupsearch.embedded.service import EmbeddedService

    with EmbeddedService(_settings(host=host, port=port, data_dir=data_dir)) as service:
        typer.echo(f"soupsearch is ready at {service.url} (data in {service.settings.data_dir})")
        service.wait()
    typer.echo("soupsearch has stopped")


def api(
    host: Host = None,
    port: Port = None,
    data_dir: DataDir = None,
    parent: Parent = None,
    fd: Annotated[int | None, typer.Option(hidden=True, help="Listen on this inherited socket.")] = None,
) -> None:
    """Run only the HTTP API. It needs SOUPSEARCH_REDIS_URL and the data folder that it shares with the workers.

    Example: `SOUPSEARCH_REDIS_URL=redis://redis:6379/0 SOUPSEARCH_DATA_DIR=/data soupsearch api`
    """
    from service.api.server import serve as serve_api

    _end_with(parent)
    listener = None if fd is None else socket.socket(fileno=fd)
    serve_api(_settings(host=host, port=port, data_dir=data_dir), listener)


def worker(
    data_dir: DataDir = None,
    parent: Parent = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only report, by the exit code, whether a worker on this machine is alive.")
    ] = False,
) -> None:
    """Run one supervisor, which claims jobs from Redis and runs them on the Ray cluster at SOUPSEARCH_RAY_ADDRESS.

    Example: `SOUPSEARCH_RAY_ADDRESS=head:6380 soupsearch worker`, and `soupsearch worker --check` for health checks.
    """
    if check:
        _check_worker(_settings())
        return
    from workers.supervisor.loop import run

    _end_with(parent)
    run(_settings(data_dir=data_dir))


def _check_worker(settings: Settings) -> None:
    from redis import RedisError

    from service.connection import connect
    from service.jobs.keys import Keys
    from service.jobs.supervisors import SupervisorRegistry

    host = socket.gethostname()
    try:
        with connect(settings) as client:
            alive = SupervisorRegistry(client, Keys(settings.redis_prefix)).lives_on(host)
    except RedisError as error:
        raise CommandError(f"Redis does not answer; is SOUPSEARCH_REDIS_URL right? ({error})") from error
    if not alive:
        raise CommandError(f"no worker on {host} has given a sign of life lately: see its log")
    typer.echo(f"a worker on {host} is alive")
