"""The evaluators of a study, on a Ray cluster."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from uuid import uuid4

import ray
from ray.exceptions import RayError

from search.loop import Executor, Interrupted
from service.errors import Unavailable
from service.settings import Settings
from workers.ray_runtime.connection import LOOK_SECONDS, ClusterWatch, connect
from workers.ray_runtime.evaluators import EvaluatorPool, Supplier
from workers.ray_runtime.task import Task

ExecutorOf = Callable[[Task, Supplier], Executor]
"""Returns an executor of requests on a task, whose arrays the supplier reads."""

Evaluators = Callable[[], AbstractContextManager[ExecutorOf]]
"""Starts evaluators, which end with the context."""


@contextmanager
def connected(settings: Settings) -> Iterator[Settings]:
    """This process as a driver of the cluster at ``settings.ray_address``.

    Yields the settings with the number of evaluators: the one given or, for 0, one per GPU, or on CPUs as many as the
    cluster has CPUs for. Raises Unavailable if no cluster answers, ValueError if it has too few GPUs.
    """
    connect(settings)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray's own handler ends with a traceback on standard error
    try:
        yield _sized(settings)
    finally:
        ray.shutdown()


def _sized(settings: Settings) -> Settings:
    has = ray.cluster_resources()
    gpus = 0 if settings.evaluator_device == "cpu" else int(has.get("GPU", 0))
    if settings.evaluator_device == "cuda" and not gpus:
        where = f"the cluster at {settings.ray_address}"
        raise ValueError(f"{where} has no GPU: use --device cpu, or add a machine with one")
    if 0 < gpus < settings.evaluators:
        lack = f"{settings.evaluators} workers take a GPU each, and there are {gpus}"
        raise ValueError(f"{lack}: lower --workers, or use --device cpu")
    cpus = int(has.get("CPU", 1)) // max(1, settings.evaluator_threads)
    # A study is done with a set before it begins the next, so that nothing is worth keeping for later.
    changes = {"evaluators": settings.evaluators or gpus or max(1, cpus), "evaluator_cache_bytes": 0}
    return settings.model_copy(update=changes)


@contextmanager
def cluster_evaluators(settings: Settings) -> Iterator[ExecutorOf]:
    """Evaluators of this process alone on the cluster at ``settings.ray_address``, as many as ``connected`` says.

    Raises as ``connected`` and ``EvaluatorPool`` do; also Unavailable, within seconds, if the cluster was lost.
    """
    watch, interrupted, done = ClusterWatch(settings.ray_address), threading.Event(), threading.Event()
    with connected(settings) as sized:
        threading.Thread(target=_interrupt_if_lost, args=(watch, interrupted, done), daemon=True).start()
        try:
            pool, token = EvaluatorPool(sized, interrupted, lasting=False), uuid4().hex
            yield lambda task, arrays_of: pool.executor(task, arrays_of, token)
        except (Interrupted, RayError, Unavailable) as error:
            if interrupted.is_set() or not watch.answers():
                raise watch.lost() from error
            raise
        finally:
            done.set()


def _interrupt_if_lost(watch: ClusterWatch, interrupted: threading.Event, done: threading.Event) -> None:
    while not done.wait(LOOK_SECONDS):
        try:
            watch.look()
        except Unavailable:
            interrupted.set()
            return
