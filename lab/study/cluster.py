"""A study's jobs as tasks of a Ray cluster."""

from __future__ import annotations

import os
import pickle
import signal
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import Any

import ray
from ray.exceptions import RayTaskError

from lab.study.executors import StudyExecutor
from lab.study.inputs import Input
from lab.study.jobs import StudyJob
from lab.study.store import Arrays
from service.parent_death import die_with_parent
from service.settings import Settings
from workers.ray_runtime.connection import LOOK_SECONDS, ClusterWatch, connect

DEVICES = ("auto", "cpu", "cuda")
AHEAD = 2
"""Tasks submitted for each CPU of the cluster: one runs while one waits with its inputs ready."""
END_SECONDS = 10.0


class RayTasks(StudyExecutor):
    """Runs jobs on the cluster at ``address``, with one CPU or one GPU each.

    Inputs are read on this machine and go through the object store, so the nodes need neither the pantry nor the output
    folder. ``device`` is one of `DEVICES`: ``cuda`` takes one GPU for each task; ``auto`` does so if the cluster has
    any. Raises Unavailable if no cluster answers or it was lost, and ValueError for ``cuda`` if the cluster has no GPU.

    The cluster's driver is a separate process, because Ray ends it without a message when this machine's part of the
    cluster dies, or a minute after its head does.
    """

    def __init__(self, address: str, *, device: str = "cpu", threads: int = 1) -> None:
        self._address = address
        self._device = device
        self._threads = threads

    def run(self, jobs: Sequence[StudyJob]) -> Iterator[tuple[StudyJob, Arrays]]:
        """See ``StudyExecutor``."""
        if not jobs:
            return
        watch = ClusterWatch(self._address)
        with self._driver(jobs) as results:
            for _ in jobs:
                index, outcome = _next(results, watch)
                if isinstance(outcome, BaseException):
                    raise outcome
                yield jobs[index], outcome

    def drive(self, jobs: Sequence[StudyJob]) -> Iterator[tuple[int, Arrays]]:
        """Yield the index of each job with its result, as they finish. This process becomes the driver."""
        connect(Settings(ray_address=self._address))
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # Ray's own handler ends with a traceback on standard error
        device = self._chosen(ray.cluster_resources().get("GPU", 0))
        shared = _Shared(len({source for job in jobs for source in job.inputs}))
        task = ray.remote(_compute).options(**self._resources(device))
        waiting = list(reversed(range(len(jobs))))
        running: dict[Any, int] = {}
        limit = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)) // self._threads)
        while waiting or running:
            while waiting and len(running) < limit:
                index = waiting.pop()
                inputs = map(shared.put, jobs[index].inputs)
                running[task.remote(jobs[index], device, self._threads, *inputs)] = index
            [done], _ = ray.wait(list(running), num_returns=1)
            yield running.pop(done), ray.get(done)

    def _chosen(self, gpus: float) -> str:
        if self._device == "cuda" and not gpus:
            raise ValueError(f"the cluster at {self._address} has no GPU: use --device cpu, or add a machine with one")
        return ("cuda" if gpus else "cpu") if self._device == "auto" else self._device

    def _resources(self, device: str) -> dict[str, Any]:
        resources: dict[str, Any] = {"num_cpus": self._threads, "max_retries": 3}
        return resources if device == "cpu" else {**resources, "num_gpus": 1}

    @contextmanager
    def _driver(self, jobs: Sequence[StudyJob]) -> Iterator[Connection]:
        """The messages of the driver about the jobs, until the context ends."""
        context = get_context("spawn")
        results, told = context.Pipe(duplex=False)
        process = context.Process(target=_drive, args=(told, os.getpid(), self, jobs), daemon=True)
        process.start()
        told.close()  # so that the end of the driver is the end of its results
        try:
            yield results
        finally:
            process.terminate()
            process.join(END_SECONDS)
            process.kill()
            results.close()


def _next(results: Connection, watch: ClusterWatch) -> tuple[int, Any]:
    """The next of the driver's results. Raises Unavailable if the driver or the cluster was lost."""
    while not results.poll(LOOK_SECONDS):
        watch.look()
    try:
        index, outcome = results.recv()
    except (EOFError, OSError) as error:
        raise watch.ended() from error
    return index, outcome


def _drive(told: Connection, parent: int, tasks: RayTasks, jobs: Sequence[StudyJob]) -> None:
    """Run ``jobs`` in this process and send the index of each with its result as they finish, or an exception."""
    die_with_parent(parent)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever interrupts the command interrupts the parent, which ends us
    try:
        for index, arrays in tasks.drive(jobs):
            told.send((index, arrays))
    except Exception as error:  # noqa: BLE001 - raised again by the parent
        told.send((0, _portable(error)))


def _portable(error: Exception) -> Exception:
    """The exception of a task or of the driver, in a form that another process can raise."""
    cause: Exception = error.cause if isinstance(error, RayTaskError) else error
    try:
        pickle.loads(pickle.dumps(cause))  # noqa: S301 - made here
    except Exception:  # noqa: BLE001 - whatever an exception's class does when it is copied
        return RuntimeError(str(error))
    return cause


class _Shared:
    """References to the most recent inputs. Older ones leave the object store when no task needs them."""

    HELD = 16

    def __init__(self, inputs: int) -> None:
        self._held = min(inputs, self.HELD)
        self._references: OrderedDict[Input, Any] = OrderedDict()

    def put(self, source: Input) -> Any:
        """The reference of an input, which is read if there is none yet."""
        if source not in self._references:
            while len(self._references) >= self._held:
                self._references.popitem(last=False)
            self._references[source] = ray.put(source.load())
        self._references.move_to_end(source)
        return self._references[source]


def _compute(job: StudyJob, device: str, threads: int, *inputs: Any) -> Arrays:
    import torch

    torch.set_num_threads(threads)
    return job.compute(inputs, device)
