"""Ray Tune as the executor of a job's search."""

import logging
import os
import threading
from collections.abc import Callable, Sequence
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import Any

from search.evaluation import EvaluationRequest
from search.loop import UNSTEERED, Executor, OnFound, ShouldEnd, Steering
from service.errors import Unavailable
from workers.ray_runtime.dispatcher import Dispatcher
from workers.ray_runtime.evaluators import EvaluatorPool, Supplier
from workers.ray_runtime.searcher import BatchSearcher
from workers.ray_runtime.task import Task

TRIALS_PER_EVALUATOR = 2
_ENVIRONMENT = {
    # Tune's tables and progress go to a terminal that nobody reads, and cost time at every result.
    "RAY_AIR_NEW_OUTPUT": "0",
    # Otherwise each trial would change into its own folder and write there.
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    # The JSON, CSV and TensorBoard loggers write five files per trial; the journal is the record.
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    # The process handles signals itself: Tune's handler would swallow them (and may only be set in the main thread).
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    # An evaluator that hangs must not hold up the end of the experiment.
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    # The experiment is never restored, so its state need not be written.
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    # Do not warn if writing it at the very end takes long.
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def import_tune() -> None:
    """Import Ray Tune, which takes seconds, with all of its own records turned off: the journal is the record.

    A comment explains each environment variable that is set for Tune.
    """
    os.environ.update(_ENVIRONMENT)
    import_module("workers.ray_runtime.trainable")
    logging.getLogger("ray.tune").setLevel(logging.ERROR)


class TuneExecutor(Executor):
    """Evaluates the requests of a search on ``task`` as trials of one Tune experiment, by the evaluators of ``pool``.

    ``token`` names the attempt, for stopping; a trial carries at most ``batch_size`` requests. Tune keeps its files in
    ``folder``. Use one per process: two Tuners in one process disturb each other. Tune runs in a thread, which calls
    ``on_found``. It takes seconds to end its trials; if you no longer need the process, end it without waiting for
    that. Call ``close`` at the end.
    """

    def __init__(
        self, pool: EvaluatorPool, task: Task, arrays_of: Supplier, token: str, *, batch_size: int, folder: Path
    ) -> None:
        self._supply = partial(pool.supply, task, arrays_of)
        self._pool = pool
        self._token = token
        self._dispatcher = Dispatcher(pool.names, task.blocks, batch_size, partial(pool.raise_bar, token))
        searcher = BatchSearcher(
            self._dispatcher,
            token,
            task.digest,
            lambda name, failure: pool.revive(name, failure, task, arrays_of),
        )
        self._fit = _Fit(searcher, TRIALS_PER_EVALUATOR * len(pool.names), self._dispatcher, folder)

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        """See ``Executor``. Raises as ``Dispatcher.run`` does; Unavailable if Tune itself ended."""
        if not self._fit.has_begun:
            self._supply()
            self._fit.start()
        self._dispatcher.run(requests, on_found, partial(self._check, steering.should_end), steering.bar)

    def close(self) -> None:
        """Report no more outcomes, and let Tune end."""
        self._dispatcher.close()

    def _check(self, should_end: ShouldEnd) -> None:
        self._pool.check_wanted(self._token, should_end)
        if not self._fit.is_alive():
            msg = f"Ray Tune ended before the search did ({self._fit.error}): see the Ray logs"
            raise Unavailable(msg, code="search_interrupted") from self._fit.error


class _Fit(threading.Thread):
    """Runs Tuner.fit in a thread."""

    def __init__(self, searcher: BatchSearcher, concurrent: int, dispatcher: Dispatcher, folder: Path) -> None:
        super().__init__(name="tune", daemon=True)
        self._searcher = searcher
        self._concurrent = concurrent
        self._dispatcher = dispatcher
        self._folder = folder
        self.error: Exception | None = None

    @property
    def has_begun(self) -> bool:
        """Whether it was started."""
        return self.ident is not None

    def run(self) -> None:
        """Fit."""
        # By default Tune opens a placement group for each waiting trial.
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(self._concurrent)
        try:
            import_tune()
            self._tuner().fit()
        except Exception as error:  # noqa: BLE001 - raised again in the thread that runs the search
            self.error = error

    def _tuner(self) -> Any:
        from ray import tune

        from workers.ray_runtime.trainable import BatchTrainable

        return tune.Tuner(
            BatchTrainable,
            tune_config=tune.TuneConfig(
                search_alg=self._searcher, num_samples=-1, max_concurrent_trials=self._concurrent, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=str(self._folder),
                stop=_stopper(lambda: self._dispatcher.is_closed),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
                log_to_file=False,
            ),
        )


def _stopper(should_stop: Callable[[], bool]) -> Any:
    from ray import tune

    class Stop(tune.Stopper):  # type: ignore[misc]
        """Ends the experiment on cancellation and failure."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            del trial_id, result
            return False

        def stop_all(self) -> bool:
            return should_stop()

        def __reduce__(self) -> tuple[type[object], tuple[()]]:
            return object, ()

    return Stop()
