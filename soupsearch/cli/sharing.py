"""Sharing one training among several processes or the machines of a cluster."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
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
    """How to train with ``workers`` workers, ``at_once`` ingredients at a time. None means one worker, in this process.

    Several workers run on the Ray cluster at ``ray_address``, with one thread each unless ``threads`` says otherwise,
    or on a private cluster that shares this machine's cores and ends with the context. A training from scratch gets
    all cores, each of ``at_once`` fine-tunes a part. Raises CommandError if no cluster answers, or if ``device`` is
    not auto, cpu or cuda.
    """
    if workers == 1 and ray_address is None:
        yield None
        return
    if device not in ("auto", "cpu", "cuda"):
        raise CommandError(f"Ray gives each worker its device: use --device auto, cpu or cuda instead of {device}")
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
    """Where this process measures: on ``device`` or, if ``train`` trains elsewhere, on a GPU only if there is one."""
    return device if train is None or device == "cpu" else "auto"


def tell_measuring(name: str) -> None:
    """Explain on standard error why a command that trains nothing takes a while."""
    typer.echo(f"{name} is already trained: measuring its accuracy with the recipe's changed evaluation", err=True)


def tell_masking(folder: Path) -> None:
    """Print on standard error what the check for masked gradients found in the ingredient in ``folder``."""
    from lab.training.ingredient_build import masking_warnings

    for warning in masking_warnings(folder):
        typer.echo(f"warning: {folder.name}: {warning}", err=True)


def threads_of_workers(cores: int, workers: int, at_once: int, threads: int) -> tuple[int, int]:
    """Threads per worker: when one training has all ``cores``, and when ``at_once`` fine-tunes share them.

    Both are ``threads``, unless that is 0.
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
