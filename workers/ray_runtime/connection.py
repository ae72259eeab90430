"""This process as a driver of a Ray cluster."""

import logging
import socket
from contextlib import chdir

import ray

from service.errors import Unavailable
from service.settings import Settings

NAMESPACE = "soupsearch"
CONNECT_TIMEOUT = 10.0
LOOK_SECONDS = 5.0
LOOKS = 3
"""Failed checks in a row, ``LOOK_SECONDS`` apart, after which a cluster counts as lost."""


def connect(settings: Settings) -> None:
    """Connect this process to the cluster at ``settings.ray_address``, until it ends or calls ``ray.shutdown``.

    Always pass the address: a bare ``ray.init()`` may use the stale address of a killed cluster.
    Raises Unavailable when no cluster answers.
    """
    _check_reachable(settings.ray_address)
    try:
        with chdir("/"):  # Ray puts the driver's folder first on its workers' path: a `service` in it would shadow ours
            ray.init(
                address=settings.ray_address,
                namespace=NAMESPACE,
                log_to_driver=False,
                logging_level=logging.WARNING,
                configure_logging=False,
            )
    except (ConnectionError, RuntimeError, ValueError) as error:
        raise _unreachable(settings.ray_address, error) from error


class ClusterWatch:
    """Detects that the cluster at ``address`` has ended, for work that can resume where it stopped.

    Ray itself notices only after a minute, and then ends the process.
    """

    def __init__(self, address: str) -> None:
        self._address = address
        self._missed = 0

    def look(self) -> bool:
        """Whether the cluster's head answers now. Raises Unavailable after too many failures in a row."""
        if self.answers():
            self._missed = 0
            return True
        self._missed += 1
        if self._missed >= LOOKS:
            raise self.lost()
        return False

    def answers(self) -> bool:
        """Whether the cluster's head answers now."""
        return _refusal(self._address) is None

    def lost(self) -> Unavailable:
        """The error for work whose cluster was lost."""
        msg = (
            f"the Ray cluster at {self._address} was lost: start one, then give the same command again; "
            "it goes on where it was"
        )
        return Unavailable(msg, code="ray_unavailable")


def _check_reachable(address: str) -> None:
    """Ray itself tries a dead address for minutes."""
    if (error := _refusal(address)) is not None:
        raise _unreachable(address, error) from error


def _refusal(address: str) -> OSError | None:
    """Why nothing answers at ``address``; None where something does, or Ray alone knows where to look."""
    host, _, port = address.rpartition(":")
    if not port.isdigit() or "://" in address:
        return None
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=CONNECT_TIMEOUT).close()
    except OSError as error:
        return error
    return None


def _unreachable(address: str, error: Exception) -> Unavailable:
    msg = f"no Ray cluster answers at {address}: start one, or name another address ({error})"
    return Unavailable(msg, code="ray_unavailable")
