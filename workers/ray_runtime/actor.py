"""The evaluator as Ray knows it.

Whoever holds a handle of an actor has imported its class, trials of a search too: PyTorch is imported only in the
process where the actor lives.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from workers.evaluation.scores import ModelScore, SoupScore
from workers.ray_runtime.task import HostInfo, Report, Task

if TYPE_CHECKING:
    from workers.evaluation.baselines import BaselineScores


class EvaluatorActor:
    """The calls of an ``EvaluatorHost``, which says what they do."""

    def __init__(self, device: str, threads: int, neighbours: int, cache_bytes: int) -> None:
        from workers.ray_runtime.host import EvaluatorHost

        self._host = EvaluatorHost(device, threads, neighbours, cache_bytes)

    def info(self) -> HostInfo:
        """See ``EvaluatorHost``."""
        return self._host.info()

    def stop(self, tokens: Sequence[str]) -> None:
        """See ``EvaluatorHost``."""
        self._host.stop(tokens)

    def idle_seconds(self) -> float:
        """See ``EvaluatorHost``."""
        return self._host.idle_seconds()

    def missing(self, task: Task) -> tuple[str, ...]:
        """See ``EvaluatorHost``."""
        return self._host.missing(task)

    def load(self, key: str, arrays: Mapping[str, Any]) -> None:
        """See ``EvaluatorHost``."""
        self._host.load(key, arrays)

    def prepare(self, task: Task) -> None:
        """See ``EvaluatorHost``."""
        self._host.prepare(task)

    def evaluate(self, token: str, digest: str, batch: Sequence[Sequence[float]]) -> Iterator[Report]:
        """See ``EvaluatorHost``."""
        yield from self._host.evaluate(token, digest, batch)

    def score(
        self, token: str, digest: str, weights: Sequence[float], *, detail: bool = False, logits: bool = False
    ) -> SoupScore:
        """See ``EvaluatorHost``."""
        return self._host.score(token, digest, weights, detail=detail, logits=logits)

    def baselines(self, token: str, digest: str) -> "BaselineScores":
        """See ``EvaluatorHost``."""
        return self._host.baselines(token, digest)

    def ensembles(self, token: str, digest: str) -> tuple[ModelScore, ModelScore]:
        """See ``EvaluatorHost``."""
        return self._host.ensembles(token, digest)
