"""Sharing one training among several processes, or the machines of a cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import typer

from service.errors import Unavailable
from soupsearch.cli.exits import CommandError

if TYPE_CHECKING:
    from lab.training.ingredient_build import Train


@contextmanager
def training_shared(
    workers: int, ray_address: str | None, *, device: str, threads: int, at_once: int = 1
) -> "Iterator[Train | None]":
    """How to train with so many ``workers``, ``at_once`` ingredients at a time: None for one, in this process.

    Several work on the Ray cluster at ``ray_address``, with one thread each unless ``threads`` says otherwise, or on a
    private one that shares this machine's cores and ends with the context: all of them for a training from scratch,
    a part for each of ``at_once`` fine-tunes. Raises CommandError where no cluster answers or ``device`` is another
    than auto, cpu and cuda.
    """
    if workers == 1 and ray_address is None:
        yield None
        return
    if device not in ("auto", "cpu", "cuda"):
        raise CommandError(f"Ray gives each worker its device: say --device auto, cpu or cuda instead of {device}")
    cores = workers if ray_address is not None else os.cpu_count() or 1
    alone, beside = threads_of_workers(cores, workers, at_once, threads)
    with _cluster(workers * max(alone, beside * at_once), ray_address) as address:
        from lab.training.cluster import RayTraining

        training = RayTraining(
            address,
            workers,
            device=device,
            threads=alone,
            fine_tune_threads=beside,
            at_once=at_once,
            on_wait=lambda message: typer.echo(message, err=True),
        )
        try:
            if at_once > 1:
                training.connect()
            yield training
        except Unavailable as error:
            raise CommandError(str(error)) from error
        finally:
            training.close()


def own_device(device: str, train: "Train | None") -> str:
    """Where this process measures: on ``device``; where ``train`` trains elsewhere, on a GPU only if it has one too."""
    return device if train is None or device == "cpu" else "auto"


def tell_measuring(name: str) -> None:
    """Say on standard error why a command that trains nothing takes its time."""
    typer.echo(f"{name} is trained: measuring its accuracy by the recipe's changed evaluation", err=True)


def threads_of_workers(cores: int, workers: int, at_once: int, threads: int) -> tuple[int, int]:
    """Threads of each worker that trains from scratch, alone on ``cores``, and of ``at_once`` fine-tunes' workers.

    ``threads``, unless it is 0, for both.
    """
    return threads or max(1, cores // workers), threads or max(1, cores // (workers * at_once))


@contextmanager
def _cluster(cpus: int, ray_address: str | None) -> Iterator[str]:
    if ray_address is not None:
        yield ray_address
        return
    from soupsearch.embedded.cluster import LocalCluster

    with LocalCluster(cpus=cpus) as cluster:
        yield cluster.address
