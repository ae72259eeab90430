"""Runs the API in uvicorn."""

import logging
import sys
from collections.abc import Callable
from socket import AF_INET6, socket

import uvicorn
from fastapi import FastAPI

from service.api.app import create_app
from service.settings import Settings

GRACE_SECONDS = 10
ANY_ADDRESS = "0.0.0.0"  # noqa: S104 - to know it, not to bind to it


def print_address(url: str) -> None:
    """Print on standard output where the API listens, the only line printed there."""
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()


class Server(uvicorn.Server):
    """A uvicorn server that prints its address, and ends open event streams before it waits for connections."""

    def __init__(self, app: FastAPI, config: uvicorn.Config, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._app = app
        self._on_ready = on_ready

    async def startup(self, sockets: list[socket] | None = None) -> None:
        """Listen, then print the address."""
        await super().startup(sockets)
        if self.started:
            self._on_ready(self.url)

    @property
    def url(self) -> str:
        """The address of the server; the loopback address if it listens on all, since the API answers to that."""
        bound = self.servers[0].sockets[0]
        host, port = bound.getsockname()[:2]
        if bound.family == AF_INET6:
            return f"http://[{'::1' if host == '::' else host}]:{port}"
        return f"http://{'127.0.0.1' if host == ANY_ADDRESS else host}:{port}"

    async def shutdown(self, sockets: list[socket] | None = None) -> None:
        """End the event streams, then shut down as uvicorn does."""
        self._app.state.services.stopping.set()
        await super().shutdown(sockets)


def make_server(settings: Settings, on_ready: Callable[[str], None] = print_address) -> Server:
    """A server at ``settings.host`` and ``settings.port``, not yet running.

    Start it with ``run()`` and end it with ``should_exit``.
    """
    app = create_app(settings)
    config = uvicorn.Config(
        app,
        host=settings.host,
        port=settings.port,
        log_config=None,
        server_header=False,
        ws="none",
        lifespan="on",
        timeout_graceful_shutdown=GRACE_SECONDS,
    )
    return Server(app, config, on_ready)


def serve(settings: Settings, listener: socket | None = None, on_ready: Callable[[str], None] = print_address) -> None:
    """Serve the API until SIGINT or SIGTERM, on ``listener`` if given.

    Prints the address once it listens, and nothing else on standard output; the log goes to standard error.

    Raises:
        SystemExit: the address is taken.
    """
    level = settings.log_level.upper()
    logging.basicConfig(stream=sys.stderr, level=level, format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    make_server(settings, on_ready).run(None if listener is None else [listener])
