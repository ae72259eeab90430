"""The state and methods of an evaluator's process."""

import os
import platform
import time
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch

from search.evaluation import Bar, Outcome, SetOutcome
from workers.evaluation.errors import EvaluationMemoryError
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.forward import is_out_of_memory
from workers.evaluation.labels import LabelSpace
from workers.evaluation.sets import EncodedSet
from workers.ray_runtime.cache import ByteCache
from workers.ray_runtime.task import (
    OUT_OF_MEMORY,
    REFUSED,
    STOPPED,
    UNPREPARED,
    Failure,
    HostInfo,
    Order,
    Report,
    SetPart,
    Task,
    Unprepared,
    failed,
)
from workers.soups.resident import ResidentSoup
from workers.soups.stack import IngredientStack

REPORT_INTERVAL = 0.2
"""Least number of seconds between reports."""
_STOPS_KEPT = 1000
_BARS_KEPT = 100


class EvaluatorHost:
    """Keeps ingredients and images in memory and evaluates soups, one batch after another.

    ``info``, ``stop``, ``raise_bar``, ``hold`` and ``idle_seconds`` may be called during a batch, from other threads.
    Each batch belongs to the ``token`` of one attempt at a job. ``stop`` ends its batches, the current one at the next
    forward pass.
    """

    def __init__(self, device: str, threads: int, neighbours: int, cache_bytes: int) -> None:
        """With ``threads`` 0, ``neighbours`` evaluators share this machine's cores."""
        self._device = "cuda" if device == "cuda" or (device == "auto" and torch.cuda.is_available()) else "cpu"
        self._threads = threads or max(1, _cores() // neighbours)
        self._cache = ByteCache(cache_bytes)
        self._stopped: OrderedDict[str, None] = OrderedDict()
        self._bars: OrderedDict[str, Bar] = OrderedDict()
        self._last_use = time.monotonic()
        self._held_until = 0.0
        torch.set_num_threads(self._threads)

    def info(self) -> HostInfo:
        """The device that this evaluator computes on."""
        name = torch.cuda.get_device_name() if self._device == "cuda" else platform.machine()
        return HostInfo(os.getpid(), self._device, f"{self._device} {name} {self._threads}", self._threads)

    def stop(self, tokens: Sequence[str]) -> None:
        """End all current and future batches of these tokens."""
        for token in tokens:
            self._stopped[token] = None
        while len(self._stopped) > _STOPS_KEPT:
            self._stopped.popitem(last=False)

    def raise_bar(self, token: str, bar: Bar) -> None:
        """Drop soups of this token that do not clear ``bar`` either, from now on."""
        self._bars[token] = bar
        self._bars.move_to_end(token)
        while len(self._bars) > _BARS_KEPT:
            self._bars.popitem(last=False)

    def hold(self, seconds: float) -> None:
        """Count as in use for this many seconds, whatever else happens, because a job needs this evaluator."""
        self._held_until = time.monotonic() + seconds

    def idle_seconds(self) -> float:
        """Seconds since the last forward pass began, data came, or a job held this evaluator."""
        return max(0.0, time.monotonic() - max(self._last_use, self._held_until))

    def missing(self, digest: str, keys: Sequence[str]) -> tuple[str, ...] | None:
        """Keys of the arrays that must be loaded before ``prepare``; None if the task is already prepared."""
        self._last_use = time.monotonic()
        return None if digest in self._cache else tuple(key for key in keys if key not in self._cache)

    def load(self, key: str, arrays: Mapping[str, Any]) -> None:
        """Take arrays from the object store; all processes of this node share them without copying."""
        self._last_use = time.monotonic()
        if "weights" in arrays:
            stack = IngredientStack.from_arrays(arrays)
            self._cache.put(key, stack, stack.nbytes)
        else:
            self._cache.put(key, arrays["images"], arrays["images"].nbytes)

    def prepare(self, task: Task) -> None:
        """Make a model and the task's images ready. Raises EvaluationMemoryError, and Unprepared without the arrays."""
        try:
            self._cache.get_or_make(task.digest, lambda: self._make_evaluator(task))
        except KeyError as error:
            raise Unprepared(f"arrays {error} are missing: load them first") from error
        except (RuntimeError, MemoryError) as error:
            if not is_out_of_memory(error):
                raise
            message = "the ingredients do not fit into an evaluator's memory: use fewer, or a device with more memory"
            raise EvaluationMemoryError(message) from error
        self._cache.trim(keep={task.digest, _soup_key(task), *task.keys})

    def evaluate(self, order: Order) -> Iterator[Report]:
        """Answer the requests for a prepared task one after another and report outcomes as they are found."""
        try:
            yield from self._reports(self._evaluator(order.digest), order)
        except Unprepared as error:
            yield failed(Failure(UNPREPARED, str(error), retryable=True))
        except EvaluationMemoryError as error:
            yield failed(Failure(OUT_OF_MEMORY, str(error), retryable=False))
        except ValueError as error:
            yield failed(Failure(REFUSED, str(error), retryable=False))

    def _evaluator(self, digest: str) -> Evaluator:
        if digest not in self._cache:
            raise Unprepared("the evaluator was restarted, or made room for another job")
        evaluator: Evaluator = self._cache.get(digest)
        return evaluator

    def _reports(self, evaluator: Evaluator, order: Order) -> Iterator[Report]:
        found: list[Outcome] = []
        told = 0
        reported = time.monotonic()
        answers = evaluator.answers(
            order.requests, stop=lambda: self._is_stopped(order.token), drops=lambda sets: self._drops(order, sets)
        )
        for outcome in answers:
            found.append(outcome)
            is_last = told + len(found) == len(order.requests)
            if not is_last and time.monotonic() - reported >= REPORT_INTERVAL:
                yield Report(told, tuple(found), last=False)
                told, found, reported = told + len(found), [], time.monotonic()
        stopped = Failure(STOPPED, "the evaluation was stopped", retryable=False)
        is_whole = told + len(found) == len(order.requests)
        yield Report(told, tuple(found), last=True, failure=None if is_whole else stopped)

    def _is_stopped(self, token: str) -> bool:
        self._last_use = time.monotonic()
        return token in self._stopped

    def _drops(self, order: Order, sets: Sequence[SetOutcome]) -> bool:
        return any(bar is not None and bar.drops(sets) for bar in (order.bar, self._bars.get(order.token)))

    def _make_evaluator(self, task: Task) -> tuple[Evaluator, int]:
        soup = self._soup(task)
        sets = [self._encoded(part) for part in task.sets]
        evaluator = Evaluator(
            soup.stack,
            sets,
            device=self._device,
            precision=task.precision,
            batch_size=task.batch_size,
            threads=self._threads,
            soup=soup,
            attacks=task.attacks,
            seed=task.seed,
        )
        return evaluator, sum(each.nbytes for each in sets)

    def _soup(self, task: Task) -> ResidentSoup:
        stack: IngredientStack = self._cache.get(task.stack)

        def make() -> tuple[ResidentSoup, int]:
            copies = 1 if self._device == "cpu" else len(stack) + 1
            nbytes = copies * stack.weights[0].nbytes
            return ResidentSoup(stack, self._device, task.precision), nbytes

        soup: ResidentSoup = self._cache.get_or_make(_soup_key(task), make)
        return soup

    def _encoded(self, part: SetPart) -> EncodedSet:
        images = self._cache.get(part.images)[np.asarray(part.rows, dtype=np.int64)]
        return EncodedSet(images, part.accepted, LabelSpace(part.columns, part.num_classes))


def _soup_key(task: Task) -> str:
    return f"{task.stack} {task.precision}"


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
