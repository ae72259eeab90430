"""One search by Ray Tune."""

import logging
import os
import threading
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import Any

from search.strategies import Strategy
from service.errors import SoupsearchError, Unavailable
from workers.ray_runtime.dispatcher import Dispatcher
from workers.ray_runtime.evaluators import EvaluatorPool, Supplier
from workers.ray_runtime.searcher import BatchSearcher, Evaluate, Sink
from workers.ray_runtime.task import Task

TRIALS_PER_EVALUATOR = 2
_POLL = 0.05
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


def import_tune() -> None:
    """Import Ray Tune, which takes seconds, with all of its own records off: the journal of points is the record."""
    os.environ.update(_ENVIRONMENT)
    import_module("workers.ray_runtime.trainable")
    logging.getLogger("ray.tune").setLevel(logging.ERROR)


@dataclass(frozen=True)
class TuneSearch:
    """A search of ``strategy`` over soups of ``task``, by the evaluators of ``pool``.

    ``known`` points of the strategy's total were told to it before. ``evaluate`` turns a score into what the strategy
    learns; ``token`` names the attempt, for stopping; a trial carries at most ``batch_size`` points. Tune keeps its
    files in ``folder``.
    """

    pool: EvaluatorPool
    task: Task
    arrays_of: Supplier
    strategy: Strategy
    evaluate: Evaluate
    token: str
    batch_size: int
    folder: Path
    known: int = 0

    def run(self, sink: Sink, cancelled: threading.Event) -> None:
        """Run until the strategy ends, ``cancelled`` is set, or something fails for good.

        One call a process: two Tuners in one process disturb each other. Tune runs in a thread, from which ``sink`` is
        called, and is left to end its trials by itself, which takes it seconds: whoever needs the process no longer
        ends it without waiting.

        Raises what ``sink`` raised; SoupsearchError with the evaluators' own code; Unavailable when evaluators were
        lost; Interrupted when the pool was.
        """
        dispatcher = Dispatcher(self.strategy, self.pool.names, self.batch_size, self.known)
        searcher = BatchSearcher(
            dispatcher,
            {"token": self.token, "task": self.task.digest},
            self.evaluate,
            sink,
            lambda name, problem: self.pool.revive(name, problem, self.task, self.arrays_of),
        )
        fit = _Fit(searcher, TRIALS_PER_EVALUATOR * len(self.pool.names), cancelled, self.folder)
        fit.start()
        while fit.is_alive() and not searcher.ended.wait(_POLL) and not cancelled.is_set():
            pass
        searcher.close()
        self._raise_failure(searcher, dispatcher, fit, cancelled.is_set())

    def _raise_failure(self, searcher: BatchSearcher, dispatcher: Dispatcher, fit: "_Fit", is_cancelled: bool) -> None:
        if is_cancelled:
            return
        if searcher.error is not None:
            raise searcher.error
        if dispatcher.failure is not None:
            problem = dispatcher.failure
            error = Unavailable if problem.retryable else SoupsearchError
            raise error(problem.message, code=problem.code)
        if not searcher.ended.is_set():
            msg = f"Ray Tune ended before the search did ({fit.error}): see the Ray logs"
            raise Unavailable(msg, code="search_interrupted") from fit.error


class _Fit(threading.Thread):
    """Tuner.fit, in a thread of its own."""

    def __init__(self, searcher: BatchSearcher, concurrent: int, cancelled: threading.Event, folder: Path) -> None:
        super().__init__(name="tune", daemon=True)
        self._searcher = searcher
        self._concurrent = concurrent
        self._cancelled = cancelled
        self._folder = folder
        self.error: Exception | None = None

    def run(self) -> None:
        """Fit."""
        os.environ["TUNE_MAX_PENDING_TRIALS_PG"] = str(self._concurrent)
        try:
            import_tune()
            self._tuner().fit()
        except Exception as error:  # noqa: BLE001 - raised again by whoever runs the search
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
                stop=_stopper(lambda: self._cancelled.is_set() or self._searcher.has_failed),
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
