"""The API in a thread, with real stores behind it."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from queue import Queue

from service.api.server import Server, make_server
from service.settings import Settings


@contextmanager
def running_api(settings: Settings) -> Iterator[str]:
    """Serve the API of ``settings``, whose port is 0; gives its URL and stops it at the end."""
    with running_server(settings) as (server, _):
        yield server.url


@contextmanager
def running_server(settings: Settings) -> Iterator[tuple[Server, threading.Thread]]:
    """The same, giving the server and its thread."""
    ready: Queue[str] = Queue()
    server = make_server(settings, on_ready=ready.put)
    thread = threading.Thread(target=server.run, name="api")
    thread.start()
    try:
        ready.get(timeout=60)
        yield server, thread
    finally:
        server.should_exit = True
        thread.join(timeout=60)
        assert not thread.is_alive()
