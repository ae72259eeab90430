"""One search by Ray Tune."""

import os
import tempfile
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from search.strategies import Strategy
from service.errors import SoupsearchError, Unavailable
from service.settings import Settings
from workers.ray_runtime.dispatcher import Dispatcher
from workers.ray_runtime.evaluators import EvaluatorPool, Supplier
from workers.ray_runtime.searcher import BatchSearcher, Evaluate, Sink
from workers.ray_runtime.task import Task

TRIALS_PER_EVALUATOR = 2
_ENVIRONMENT = {
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_CHDIR_TO_TRIAL_DIR": "0",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_FORCE_TRIAL_CLEANUP_S": "10",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


@dataclass(frozen=True)
class TuneSearch:
    """A search of ``strategy`` over soups of ``task``, by the evaluators of ``pool``.

    ``known`` points of the strategy's total were told to it before. ``evaluate`` turns a score into what the strategy
    learns; ``token`` names the attempt, for stopping.
    """

    pool: EvaluatorPool
    task: Task
    arrays_of: Supplier
    strategy: Strategy
    evaluate: Evaluate
    token: str
    known: int = 0

    def run(self, settings: Settings, sink: Sink, cancelled: threading.Event) -> None:
        """Run until the strategy ends, ``cancelled`` is set, or something fails for good.

        One call a process: two Tuners in one process disturb each other. ``sink`` is called from this thread. Raises
        what ``sink`` raised; SoupsearchError with the evaluators' own code; Unavailable when evaluators were lost;
        Interrupted when the pool was.
        """
        dispatcher = Dispatcher(self.strategy, self.pool.names, settings.points_per_trial, self.known)
        searcher = BatchSearcher(
            dispatcher,
            {"token": self.token, "task": self.task.digest},
            self.evaluate,
            sink,
            lambda name: self.pool.supply(self.task, self.arrays_of, [name]),
        )
        _fit(searcher, TRIALS_PER_EVALUATOR * len(self.pool.names), cancelled)
        if searcher.error is not None:
            raise searcher.error
        if dispatcher.failure is not None and not cancelled.is_set():
            problem = dispatcher.failure
            error = Unavailable if problem.retryable else SoupsearchError
            raise error(problem.message, code=problem.code)
        if not dispatcher.is_finished and not cancelled.is_set():
            raise Unavailable("Ray Tune ended before the search did: see the Ray logs", code="search_interrupted")


def _fit(searcher: BatchSearcher, concurrent: int, cancelled: threading.Event) -> None:
    os.environ.update(_ENVIRONMENT, TUNE_MAX_PENDING_TRIALS_PG=str(concurrent))
    from ray import tune

    from workers.ray_runtime.trainable import BatchTrainable

    class Stop(tune.Stopper):  # type: ignore[misc]
        """Ends the experiment on cancellation and failure."""

        def __call__(self, trial_id: str, result: dict[str, Any]) -> bool:
            del trial_id, result
            return False

        def stop_all(self) -> bool:
            return cancelled.is_set() or searcher.has_failed

        def __reduce__(self) -> tuple[Callable[[], object], tuple[()]]:
            return object, ()

    with tempfile.TemporaryDirectory(prefix="soupsearch-tune-") as folder:
        tune.Tuner(
            BatchTrainable,
            tune_config=tune.TuneConfig(
                search_alg=searcher, num_samples=-1, max_concurrent_trials=concurrent, reuse_actors=True
            ),
            run_config=tune.RunConfig(
                name="search",
                storage_path=folder,
                stop=Stop(),
                verbose=0,
                checkpoint_config=tune.CheckpointConfig(checkpoint_frequency=0, checkpoint_at_end=False),
                failure_config=tune.FailureConfig(max_failures=0),
                log_to_file=False,
            ),
        ).fit()
