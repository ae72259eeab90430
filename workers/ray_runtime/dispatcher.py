"""Which evaluator scores which points next."""

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from search.evaluation import Evaluation
from search.strategies import Strategy, Weights
from workers.ray_runtime.task import Problem

LEAST_BATCH = 4
MAX_TRIES = 3


@dataclass(frozen=True)
class Batch:
    """Points for one evaluator; ``tries`` counts the earlier attempts at them."""

    evaluator: str
    weights: tuple[Weights, ...]
    tries: int = 0


class Dispatcher:
    """Cuts a strategy's proposals into batches, gives each to the evaluator with the least to do, and collects.

    The strategy is told evaluations in the order in which it was asked for them, whichever evaluator is faster.
    Batches become smaller towards the end, so that evaluators finish together. What a failed batch left is tried again,
    ``MAX_TRIES`` times in all; then ``failure`` holds the problem and no more batches are given. ``known`` points of
    the strategy's total were told to it before. From one thread.
    """

    def __init__(self, strategy: Strategy, evaluators: Sequence[str], batch_size: int, known: int = 0) -> None:
        self._strategy = strategy
        self._batch_size = batch_size
        self._load: Counter[str] = Counter(dict.fromkeys(evaluators, 0))
        self._left: dict[str, set[Weights]] = {}
        self._batches: dict[str, Batch] = {}
        self._again: deque[tuple[tuple[Weights, ...], int]] = deque()
        self._asked: dict[Weights, Evaluation | None] = {}
        self._given = known
        self.failure: Problem | None = None

    @property
    def is_finished(self) -> bool:
        """Whether nothing is under way and nothing is left to give."""
        return self.failure is not None or not (self._batches or self._again)

    def next_batch(self, batch_id: str) -> Batch | None:
        """The next batch, known as ``batch_id`` from now on; None when there is none now."""
        if self.failure is not None:
            return None
        weights, tries = self._again.popleft() if self._again else (self._ask(), 0)
        if not weights:
            return None
        evaluator = min(self._load, key=lambda name: self._load[name])
        batch = Batch(evaluator, weights, tries)
        self._load[evaluator] += len(weights)
        self._batches[batch_id] = batch
        self._left[batch_id] = set(weights)
        return batch

    def take(self, batch_id: str, evaluations: Iterable[Evaluation]) -> list[Evaluation]:
        """Note finished points of a batch; returns those that are new."""
        left = self._left.get(batch_id, set())
        new = [evaluation for evaluation in evaluations if evaluation.weights in left]
        for evaluation in new:
            left.remove(evaluation.weights)
            self._asked[evaluation.weights] = evaluation
        if new:
            self._load[self._batches[batch_id].evaluator] -= len(new)
            self._tell_in_order()
        return new

    def close(self, batch_id: str, problem: Problem | None = None) -> None:
        """End a batch. Its unfinished points, if any, are given again unless the problem is final."""
        batch, left = self._batches.pop(batch_id, None), self._left.pop(batch_id, set())
        if batch is None or not left:
            return
        self._load[batch.evaluator] -= len(left)
        problem = problem or Problem("points_unfinished", "an evaluator left points unfinished", retryable=True)
        if not problem.retryable or batch.tries + 1 >= MAX_TRIES:
            self.failure = problem
        else:
            self._again.append((tuple(weights for weights in batch.weights if weights in left), batch.tries + 1))

    def _ask(self) -> tuple[Weights, ...]:
        rest = -(-(self._strategy.total - self._given) // (2 * len(self._load)))
        batch = tuple(self._strategy.ask(min(self._batch_size, max(LEAST_BATCH, rest))))
        self._given += len(batch)
        self._asked |= dict.fromkeys(batch)
        return batch

    def _tell_in_order(self) -> None:
        ready = []
        for evaluation in self._asked.values():
            if evaluation is None:
                break
            ready.append(evaluation)
        for evaluation in ready:
            del self._asked[evaluation.weights]
        self._strategy.tell(ready)
