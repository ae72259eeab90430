"""A strategy of ours as a searcher of Tune."""

import threading
from collections.abc import Callable, Sequence
from typing import Any

from ray.tune.search import Searcher

from search.evaluation import Evaluation
from workers.evaluation.scores import SoupScore
from workers.ray_runtime.dispatcher import Dispatcher
from workers.ray_runtime.task import Problem, Report
from workers.ray_runtime.trainable import REPORT

_FINISHED: str = Searcher.FINISHED
Evaluate = Callable[[SoupScore], Evaluation]
Sink = Callable[[Sequence[SoupScore]], None]
"""Receives each finished point once, as soon as it is known."""


class BatchSearcher(Searcher):  # type: ignore[misc]
    """Suggests batches of a Dispatcher as trials; each finished point goes to ``sink`` before Tune goes on.

    ``revive`` is called with the name of an evaluator that lost its data or its life, and why. What ``sink`` or
    ``revive`` raises is kept in ``error`` and ends the search. ``ended`` is set once there is nothing left to suggest
    or to wait for; after ``close``, which any thread may call, ``sink`` is not called any more.
    """

    def __init__(
        self,
        dispatcher: Dispatcher,
        common: dict[str, str],
        evaluate: Evaluate,
        sink: Sink,
        revive: Callable[[str, Problem], None],
    ) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._common = common
        self._evaluate = evaluate
        self._sink = sink
        self._revive = revive
        self._evaluators: dict[str, str] = {}
        self._open = True
        self._lock = threading.Lock()
        self.ended = threading.Event()
        self.error: Exception | None = None

    def close(self) -> None:
        """Take no more points; waits for a ``sink`` under way."""
        with self._lock:
            self._open = False

    def __deepcopy__(self, memo: dict[int, Any]) -> "BatchSearcher":
        """Tune copies its configuration; there is one search, and it stays in this process."""
        return self

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    @property
    def has_failed(self) -> bool:
        """Whether the search cannot go on."""
        return self.error is not None or self._dispatcher.failure is not None

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next batch as a trial's configuration."""
        batch = None if self.has_failed else self._dispatcher.next_batch(trial_id)
        if batch is None:
            if not (self.has_failed or self._dispatcher.is_finished):
                return None
            self.ended.set()
            return _FINISHED
        self._evaluators[trial_id] = batch.evaluator
        return {**self._common, "evaluator": batch.evaluator, "weights": [list(each) for each in batch.weights]}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take finished points."""
        report: Report = result[REPORT]
        self._guard(lambda: self._take(trial_id, report))

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the last points; what is missing goes to another batch."""
        del error
        report: Report | None = (result or {}).get(REPORT)
        if report is not None:
            self.on_trial_result(trial_id, {REPORT: report})
        problem = report.problem if report is not None else None
        self._dispatcher.close(trial_id, problem)
        evaluator = self._evaluators.pop(trial_id, "")
        if problem is not None and problem.retryable and not self.has_failed:
            self._guard(lambda: self._revive(evaluator, problem))

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the journal of points is what a search resumes from."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see ``save``."""

    def _take(self, trial_id: str, report: Report) -> None:
        scores = {score.weights: score for score in report.scores}
        new = self._dispatcher.take(trial_id, [self._evaluate(score) for score in report.scores])
        if new:
            self._sink([scores[evaluation.weights] for evaluation in new])

    def _guard(self, action: Callable[[], None]) -> None:
        with self._lock:
            if not self._open or self.error is not None:
                return
            try:
                action()
            except Exception as error:  # noqa: BLE001 - raised again by whoever runs the search
                self.error = error
