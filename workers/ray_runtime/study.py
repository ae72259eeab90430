"""A study's jobs as tasks of a Ray cluster."""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from typing import Any

import ray
from ray.exceptions import RayError, RayTaskError

from service.settings import Settings
from workers.ray_runtime.connection import LOOK_SECONDS, ClusterWatch, connect
from workers.study.executors import Executor
from workers.study.inputs import Input
from workers.study.jobs import Job
from workers.study.store import Arrays

DEVICES = ("auto", "cpu", "cuda")
AHEAD = 2
"""Tasks submitted for each CPU of the cluster: one runs, one waits with its inputs at hand."""


class RayTasks(Executor):
    """Runs jobs on the cluster at ``address``, one CPU or one GPU each.

    Inputs are read here and go through the object store: the nodes need neither the pantry nor the output folder.
    ``device`` is one of `DEVICES`: ``cuda`` takes one GPU for each task, ``auto`` does where the cluster has any.
    Raises Unavailable when no cluster answers, or it was lost, ValueError for ``cuda`` where it has no GPU.
    """

    def __init__(self, address: str, *, device: str = "cpu", threads: int = 1) -> None:
        self._address = address
        self._device = device
        self._threads = threads
        self._watch = ClusterWatch(address)
        self._looked = -math.inf

    def run(self, jobs: Sequence[Job]) -> Iterator[tuple[Job, Arrays]]:
        """See ``Executor``."""
        if not jobs:
            return
        if not ray.is_initialized():
            connect(Settings(ray_address=self._address))
        device = self._chosen(ray.cluster_resources().get("GPU", 0))
        shared = _Shared(len({source for job in jobs for source in job.inputs}))
        task = ray.remote(_compute).options(**self._resources(device))
        waiting = list(reversed(jobs))
        running: dict[Any, Job] = {}
        limit = AHEAD * max(1, int(ray.cluster_resources().get("CPU", 1)) // self._threads)
        while waiting or running:
            while waiting and len(running) < limit:
                job = waiting.pop()
                running[task.remote(job, device, self._threads, *map(shared.put, job.inputs))] = job
            done = self._next(list(running))
            yield running.pop(done), self._result(done)

    def _next(self, running: list[Any]) -> Any:
        """The first of the tasks to end. Raises Unavailable when the cluster was lost."""
        while True:
            # Also while tasks end: nodes go on for some time without the head, and then Ray ends this process.
            if time.monotonic() - self._looked >= LOOK_SECONDS:
                self._watch.look()
                self._looked = time.monotonic()
            done, _ = ray.wait(running, num_returns=1, timeout=LOOK_SECONDS)
            if done:
                return done[0]

    def _result(self, done: Any) -> Arrays:
        """What a task returned; raises what it raised, and Unavailable when the cluster was lost."""
        try:
            arrays: Arrays = ray.get(done)
        except RayError as error:
            if isinstance(error, RayTaskError) or self._watch.answers():
                raise
            raise self._watch.lost() from error
        return arrays

    def _chosen(self, gpus: float) -> str:
        if self._device == "cuda" and not gpus:
            raise ValueError(f"the cluster at {self._address} has no GPU: use --device cpu, or add a machine with one")
        return ("cuda" if gpus else "cpu") if self._device == "auto" else self._device

    def _resources(self, device: str) -> dict[str, Any]:
        resources: dict[str, Any] = {"num_cpus": self._threads, "max_retries": 3}
        return resources if device == "cpu" else {**resources, "num_gpus": 1}


class _Shared:
    """References to the inputs used last; older ones leave the object store when no task needs them."""

    HELD = 16

    def __init__(self, inputs: int) -> None:
        self._held = min(inputs, self.HELD)
        self._references: OrderedDict[Input, Any] = OrderedDict()

    def put(self, source: Input) -> Any:
        """The reference of an input, which is read unless it is held."""
        if source not in self._references:
            while len(self._references) >= self._held:
                self._references.popitem(last=False)
            self._references[source] = ray.put(source.load())
        self._references.move_to_end(source)
        return self._references[source]


def _compute(job: Job, device: str, threads: int, *inputs: Any) -> Arrays:
    import torch

    torch.set_num_threads(threads)
    return job.compute(inputs, device)
