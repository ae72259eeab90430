"""Sharing one training among several processes, or the machines of a cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from service.errors import Unavailable
from workers.cli.exits import CommandError

if TYPE_CHECKING:
    from workers.training.ingredient_build import Train


@contextmanager
def training_shared(workers: int, ray_address: str | None, *, device: str, threads: int) -> "Iterator[Train | None]":
    """How to train with so many ``workers``: None for one, in this process.

    Several work on the Ray cluster at ``ray_address``, or on a private one of this machine that ends with the context.
    Raises CommandError where no cluster answers or a GPU is named by its number.
    """
    if workers == 1 and ray_address is None:
        yield None
        return
    if ":" in device:
        raise CommandError(f"Ray gives each worker a GPU: say --device cuda instead of {device}")
    with _cluster(workers, ray_address) as (address, cores):
        from workers.ray_runtime.training import RayTraining

        try:
            yield RayTraining(address, workers, device=device, threads=threads or max(1, cores // workers))
        except Unavailable as error:
            raise CommandError(str(error)) from error


@contextmanager
def _cluster(workers: int, ray_address: str | None) -> Iterator[tuple[str, int]]:
    """The address of the cluster, and how many cores of it are to be shared; 0 where that is not known."""
    if ray_address is not None:
        yield ray_address, 0
        return
    from workers.ray_runtime.cluster import LocalCluster

    cores = os.cpu_count() or 1
    with LocalCluster(cpus=max(workers, cores)) as cluster:
        yield cluster.address, cores
