"""The dispatcher as a Tune searcher."""

import threading
from collections.abc import Callable
from typing import Any

from ray.tune.search import Searcher

from workers.ray_runtime.dispatcher import Dispatcher
from workers.ray_runtime.task import Failure, Order, Report
from workers.ray_runtime.trainable import REPORT

_FINISHED: str = Searcher.FINISHED


class BatchSearcher(Searcher):  # type: ignore[misc]
    """Suggests the batches of a Dispatcher as trials and passes their reports back to it.

    ``revive`` is called with the name of an evaluator that lost its data or died, and the reason. Between generations
    ``suggest`` waits for the next one, because Tune itself would ask again only after a second.
    """

    def __init__(self, dispatcher: Dispatcher, token: str, digest: str, revive: Callable[[str, Failure], None]) -> None:
        super().__init__()
        self._dispatcher = dispatcher
        self._token = token
        self._digest = digest
        self._revive = revive
        self._evaluators: dict[str, str] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "BatchSearcher":
        """Tune copies its configuration, but there is one search, which stays in this process."""
        return self

    def __reduce__(self) -> tuple[type[object], tuple[()]]:
        return object, ()

    def suggest(self, trial_id: str) -> dict[str, Any] | str | None:
        """The next batch as a trial's configuration."""
        batch = self._dispatcher.next_batch(trial_id, wait=True)
        if batch is None:
            return _FINISHED if self._dispatcher.is_closed else None
        self._evaluators[trial_id] = batch.evaluator
        return {"evaluator": batch.evaluator, "order": Order(self._token, self._digest, batch.requests, batch.bar)}

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Take outcomes."""
        self._dispatcher.take(trial_id, result[REPORT])

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        """Take the last outcomes; unfinished parts go to another batch."""
        del error
        report: Report | None = (result or {}).get(REPORT)
        failure = None
        if report is not None:
            self._dispatcher.take(trial_id, report)
            failure = report.failure
        evaluator = self._evaluators.pop(trial_id, "")
        if failure is None or not failure.retryable or self._dispatcher.is_closed:
            self._dispatcher.end(trial_id, failure)
            return
        # A new evaluator takes its time, and Tune has one thread for all of them.
        threading.Thread(target=self._revived, args=(trial_id, evaluator, failure), daemon=True).start()

    def _revived(self, trial_id: str, evaluator: str, failure: Failure) -> None:
        try:
            self._revive(evaluator, failure)
        except Exception as error:  # noqa: BLE001 - raised again by the caller of the dispatcher
            self._dispatcher.fail(error)
        self._dispatcher.end(trial_id, failure)

    def save(self, checkpoint_path: str) -> None:
        """Do nothing: a search resumes from the journal of outcomes."""

    def restore(self, checkpoint_path: str) -> None:
        """Nothing, see ``save``."""
