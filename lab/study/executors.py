"""Where jobs run: processes on this machine, or anything else with the same interface."""

from __future__ import annotations

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from functools import lru_cache
from multiprocessing import get_context
from typing import Any

from lab.study.inputs import Input
from lab.study.jobs import StudyJob
from lab.study.store import Arrays
from service.parent_death import die_with_parent

INPUTS_HELD = 8


class StudyExecutor(ABC):
    """Computes jobs. An executor keeps nothing: results go to the caller, who writes them."""

    @abstractmethod
    def run(self, jobs: Sequence[StudyJob]) -> Iterator[tuple[StudyJob, Arrays]]:
        """Yield each job with its result as jobs finish, in any order. An exception in a job ends the iteration."""


class LocalProcesses(StudyExecutor):
    """``workers`` processes on this machine with ``threads`` CPU threads each; they end with this process.

    ``device`` is PyTorch's name of the device that all of them use.
    """

    def __init__(self, workers: int, *, threads: int = 1, device: str = "cpu") -> None:
        self._workers = workers
        self._threads = threads
        self._device = device

    def run(self, jobs: Sequence[StudyJob]) -> Iterator[tuple[StudyJob, Arrays]]:
        """See ``StudyExecutor``."""
        if not jobs:
            return
        pool = ProcessPoolExecutor(
            min(self._workers, len(jobs)),
            mp_context=get_context("spawn"),
            initializer=_start,
            initargs=(os.getpid(), self._threads),
        )
        try:
            futures: dict[Future[Arrays], StudyJob] = {pool.submit(_compute, job, self._device): job for job in jobs}
            for future in as_completed(list(futures)):
                yield futures.pop(future), future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _start(parent: int, threads: int) -> None:
    die_with_parent(parent)
    import torch

    torch.set_num_threads(threads)


def _compute(job: StudyJob, device: str) -> Arrays:
    return job.compute([_loaded(each) for each in job.inputs], device)


@lru_cache(maxsize=INPUTS_HELD)
def _loaded(source: Input) -> Any:
    return source.load()
