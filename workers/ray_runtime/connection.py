"""This process as a driver of a Ray cluster."""

import logging
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import ray
from ray.exceptions import RayError, RayTaskError

from service.errors import Unavailable
from service.settings import Settings

NAMESPACE = "soupsearch"
CONNECT_TIMEOUT = 10.0


def connect(settings: Settings) -> None:
    """Connect this process to the cluster at ``settings.ray_address``, until it ends or calls ``ray.shutdown``.

    The address is always given: a bare ``ray.init()`` may follow the stale address of a cluster that was killed.
    Raises Unavailable when no cluster answers.
    """
    _check_reachable(settings.ray_address)
    try:
        ray.init(
            address=settings.ray_address,
            namespace=NAMESPACE,
            log_to_driver=False,
            logging_level=logging.WARNING,
            configure_logging=False,
        )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(settings.ray_address, error) from error


@contextmanager
def told_when_lost(address: str) -> Iterator[None]:
    """For work that goes on where it was: raises Unavailable when the cluster ends under it.

    What a task itself raised is raised as it is.
    """
    try:
        yield
    except RayTaskError:
        raise
    except RayError as error:
        msg = (
            f"the Ray cluster at {address} was lost: start one, then give the same command again; "
            f"it goes on where it was ({type(error).__name__}: {error})"
        )
        raise Unavailable(msg, code="ray_unavailable") from error


def _check_reachable(address: str) -> None:
    """Ray itself tries a dead address for minutes."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "://" in address:
        return
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT).close()
    except OSError as error:
        raise _unreachable(address, error) from error


def _unreachable(address: str, error: Exception) -> Unavailable:
    msg = f"no Ray cluster answers at {address}: start one, or name another address ({error})"
    return Unavailable(msg, code="ray_unavailable")
