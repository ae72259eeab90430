"""The evaluator as a Ray actor, and how to request its batches.

Every process with a handle of an actor imports its class, including the trials of a search. So PyTorch is imported
only in the process where the actor lives.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import ray
from ray import ObjectRefGenerator
from ray.exceptions import GetTimeoutError, RayActorError, RayError

from search.evaluation import Bar
from workers.ray_runtime.connection import NAMESPACE
from workers.ray_runtime.task import EVALUATION_FAILED, Failure, HostInfo, Order, Report, Task, failed


class EvaluatorActor:
    """The methods of an ``EvaluatorHost``; see there for what they do."""

    def __init__(self, device: str, threads: int, neighbours: int, cache_bytes: int) -> None:
        from workers.ray_runtime.host import EvaluatorHost

        self._host = EvaluatorHost(device, threads, neighbours, cache_bytes)

    def info(self) -> HostInfo:
        """See ``EvaluatorHost``."""
        return self._host.info()

    def stop(self, tokens: Sequence[str]) -> None:
        """See ``EvaluatorHost``."""
        self._host.stop(tokens)

    def raise_bar(self, token: str, bar: Bar) -> None:
        """See ``EvaluatorHost``."""
        self._host.raise_bar(token, bar)

    def hold(self, seconds: float) -> None:
        """See ``EvaluatorHost``."""
        self._host.hold(seconds)

    def idle_seconds(self) -> float:
        """See ``EvaluatorHost``."""
        return self._host.idle_seconds()

    def missing(self, digest: str, keys: Sequence[str]) -> tuple[str, ...] | None:
        """See ``EvaluatorHost``."""
        return self._host.missing(digest, keys)

    def load(self, key: str, arrays: Mapping[str, Any]) -> None:
        """See ``EvaluatorHost``."""
        self._host.load(key, arrays)

    def prepare(self, task: Task) -> None:
        """See ``EvaluatorHost``."""
        self._host.prepare(task)

    def evaluate(self, order: Order) -> Iterator[Report]:
        """See ``EvaluatorHost``."""
        yield from self._host.evaluate(order)


class Reports:
    """The reports on one batch by the evaluator of this name; an error becomes the last report's failure."""

    def __init__(self, evaluator: str, order: Order) -> None:
        try:
            actor = ray.get_actor(evaluator, namespace=NAMESPACE)
            self._reports = actor.evaluate.remote(order)
        except (ValueError, RayError) as error:
            self._reports = iter([_lost(error)])

    def ready(self, seconds: float) -> bool:
        """Whether ``next`` returns at once; waits for that, at most so long."""
        reports = self._reports
        return not isinstance(reports, ObjectRefGenerator) or bool(ray.wait([reports], timeout=seconds)[0])

    def next(self) -> Report:
        """Wait for the next report."""
        try:
            reference = next(self._reports)
            report: Report = reference if isinstance(reference, Report) else ray.get(reference)
        except (RayActorError, GetTimeoutError, StopIteration) as error:
            return _lost(error)
        except RayError as error:
            return failed(Failure(EVALUATION_FAILED, str(error), retryable=True, pid=getattr(error, "pid", None)))
        return report


def _lost(error: Exception) -> Report:
    return failed(Failure("evaluator_lost", f"an evaluator was lost: {error or type(error).__name__}", retryable=True))
