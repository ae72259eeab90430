"""The process group of a training's workers."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from typing import TypeVar, cast

import psutil
import ray
from ray.train import get_context
from ray.train.collective import broadcast_from_rank_zero
from torch import distributed
from torch.distributed import TCPStore  # type: ignore[attr-defined]

Told = TypeVar("Told")
TIMEOUT = timedelta(minutes=30)
"""How long one worker waits for another, which may still be loading images or attacking a slower share."""


def join_process_group(backend: str) -> None:
    """Make the workers of this training torch.distributed's default group, over ``gloo`` or ``nccl``.

    Ray Train's own set-up opens its store on every interface of the machine. This one listens only where the Ray node
    does, so a private Ray stays private.
    """
    context = get_context()
    address = ray.util.get_node_ip_address()
    interface = _interface(address)
    if interface:
        os.environ.setdefault("GLOO_SOCKET_IFNAME", interface)
        os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    listening = _listen(address) if context.get_world_rank() == 0 else None
    host, port = broadcast_from_rank_zero(listening.getsockname()[:2] if listening else None)
    store = TCPStore(
        host,
        port,
        context.get_world_size(),
        is_master=listening is not None,
        timeout=TIMEOUT,
        master_listen_fd=listening.detach() if listening else None,
    )
    distributed.init_process_group(
        backend, store=store, rank=context.get_world_rank(), world_size=context.get_world_size(), timeout=TIMEOUT
    )


def told_by_all(told: Told) -> list[Told]:
    """Gather a value from each process of the group, by rank."""
    every: list[Told | None] = [None] * distributed.get_world_size()
    distributed.all_gather_object(every, told)
    return cast("list[Told]", every)


def _listen(address: str) -> socket.socket:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    listening = socket.create_server((address, 0), family=family)
    os.set_inheritable(listening.fileno(), False)
    return listening


def _interface(address: str) -> str | None:
    """The network interface that has ``address``."""
    for name, assigned in psutil.net_if_addrs().items():
        if any(each.address == address for each in assigned):
            return name
    return None
