"""Requests evaluated in this process, one after the other."""

from collections.abc import Callable, Sequence

from search.evaluation import EvaluationRequest, SetOutcome
from search.loop import UNSTEERED, Executor, Interrupted, OnFound, Steering, never
from workers.evaluation.evaluator import Evaluator


class LocalExecutor(Executor):
    """Evaluates requests by one evaluator in the calling thread. ``stop`` is asked before each pass."""

    def __init__(self, evaluator: Evaluator, stop: Callable[[], bool] | None = None) -> None:
        self._evaluator = evaluator
        self._stop = stop or never

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        """See ``Executor``. Raises Interrupted on ``stop``, and what the evaluator raises."""
        begin = steering.bar()

        def drops(sets: Sequence[SetOutcome]) -> bool:
            return any(each is not None and each.drops(sets) for each in (begin, steering.bar()))

        for place, request in enumerate(requests):
            outcome = self._evaluator.answer(request, lambda: self._stop() or steering.should_end(), drops)
            if outcome.status == "stopped":
                raise Interrupted
            on_found([(place, outcome)])
