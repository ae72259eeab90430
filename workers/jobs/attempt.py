"""One attempt at a job, from claim to end."""

import threading
import time
from pathlib import Path

from service.artifacts import open_store
from service.errors import FencedOut, SoupsearchError, StorageFull, Unavailable
from service.jobs.documents import job_urls
from service.jobs.keys import weights_key
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import JobError, JobStatus, JobWarning
from service.settings import Settings
from workers.evaluation.errors import EvaluationMemoryError
from workers.jobs.finalize import ATTACKS, Finalizer
from workers.jobs.material import Material
from workers.jobs.plan import Plan, plan_search
from workers.jobs.preflight import Preflight, run_preflight, warn_of_time
from workers.jobs.progress import CancelWatch, Recorder
from workers.jobs.scope import scope_of
from workers.jobs.scoring import Scoring
from workers.ray_runtime.connection import connect
from workers.ray_runtime.evaluators import EvaluatorPool, Interrupted
from workers.ray_runtime.tuning import TuneSearch
from workers.soups.errors import IngredientError

FINAL = ":final"
CONSTRAINTS_NOT_MET = JobWarning(
    code="constraints_not_met",
    message="no soup holds all constraints: the best is the one that violates them least, see result.constraints",
)
HELD_OUT_WITHOUT_ENSEMBLES = JobWarning(
    code="held_out_without_ensembles",
    message="memory did not suffice for the ensembles on the images held out: result.held_out is without them",
)


class Attempt:
    """Runs a claimed job to its end and writes every state of it; the supervisor holds the lease meanwhile.

    What the user can change ends the job as ``failed``; what another attempt may mend (Unavailable, lost
    connections, anything unforeseen) is raised. ``folder`` is for temporary files. The process is connected to Ray
    from then on, and Tune may still run: end it.
    """

    def __init__(self, claim: Claim, store: JobStore, settings: Settings, folder: Path) -> None:
        self._claim = claim
        self._store = store
        self._settings = settings
        self._folder = folder
        self._token = f"{claim.job_id}:{claim.attempt}"
        self._started = time.monotonic()
        self._watch = CancelWatch(claim, settings)
        self._interrupted = threading.Event()
        self._lock = threading.Lock()
        self._finalizing = False

    def run(self) -> None:
        """Run the job. Raises FencedOut when it is not this attempt's any more."""
        try:
            self._run()
        except (Unavailable, FencedOut):
            raise
        except Interrupted:
            self._check_held()
            self._store.finish(self._claim.job_id, self._claim.attempt, JobStatus.CANCELLED)
        except SoupsearchError as error:
            self._fail(_job_error(error))
        except IngredientError as error:
            self._fail(JobError(code=error.code, message=str(error), param="pantry"))
        except EvaluationMemoryError as error:
            self._fail(JobError(code="evaluation_out_of_memory", message=str(error), param="pantry", retryable=True))

    def _run(self) -> None:
        material = Material(self._store.get(self._claim.job_id).request, self._settings)
        plan = plan_search(material.request.search, len(material.names), self._settings)
        scoring = Scoring(material.request, material.echo.adaptation_sets)
        recorder = Recorder(self._store, self._claim, plan, scoring, material.names)
        self._watch.on_cancel(self._interrupt)
        connect(self._settings)
        pool = EvaluatorPool(self._settings, self._interrupted)
        self._watch.on_cancel(lambda: pool.stop(self._tokens(self._claim.attempt)))
        pool.stop([token for earlier in range(1, self._claim.attempt) for token in self._tokens(earlier)])
        reused = recorder.start(scope_of(material, pool.hardware, self._settings.batch_size))
        preflight = self._search(material, pool, plan, recorder, scoring)
        self._check_held()
        finalizer = Finalizer(material, scoring, pool, open_store(self._settings), f"{self._token}{FINAL}")
        self._finish(finalizer, recorder, preflight, reused)

    def _tokens(self, attempt: int) -> list[str]:
        """Of what an attempt asks of evaluators, and need not end: its search, and the attacks on its winner."""
        token = f"{self._claim.job_id}:{attempt}"
        return [token, f"{token}{FINAL}{ATTACKS}"]

    def _search(
        self, material: Material, pool: EvaluatorPool, plan: Plan, recorder: Recorder, scoring: Scoring
    ) -> Preflight | None:
        """Score everything; when the user cancels, return early, without the preflight if that was not done."""
        preflight = None
        try:
            preflight = run_preflight(material, pool, self._token)
            recorder.warn(preflight.warnings)
            left = plan.strategy.total - len(recorder.points)
            recorder.warn(warn_of_time(material, preflight.baselines, left, len(pool.names)))
            if material.request.precision == "float32":
                self._take_baselines(preflight, plan, recorder)
            plan.strategy.tell(recorder.evaluations())
            if len(recorder.points) == plan.strategy.total:
                return preflight
            task = material.selection(material.request.precision)
            pool.supply(task, material.arrays_of)
            search = TuneSearch(
                pool,
                task,
                material.arrays_of,
                plan.strategy,
                scoring.evaluation,
                self._token,
                self._settings.points_per_trial,
                self._folder,
                known=len(recorder.points),
            )
            search.run(recorder.take, self._watch.cancelled)
        except Interrupted:
            if not recorder.points:
                raise
        return preflight

    def _take_baselines(self, preflight: Preflight, plan: Plan, recorder: Recorder) -> None:
        """Ingredients and uniform soup were scored as the search would: points of it that are done."""
        scores = [*preflight.baselines.ingredients, preflight.baselines.uniform_soup]
        keys = [weights_key(score.weights) for score in scores]
        recorder.take(
            score
            for key, score in zip(keys, scores, strict=True)
            if key in plan and plan.places[key] not in recorder.points
        )

    def _finish(self, finalizer: Finalizer, recorder: Recorder, preflight: Preflight | None, reused: int) -> None:
        with self._lock:
            self._finalizing = True
            self._interrupted.clear()
        job_id, attempt = self._claim.job_id, self._claim.attempt
        if self._watch.cancelled.is_set() and not recorder.points:
            raise Interrupted
        self._store.set_phase(job_id, attempt, "finalizing")
        result = finalizer.finish(
            recorder.ranked(),
            preflight,
            progress=self._store.get(job_id).progress,
            reused=reused,
            seconds=lambda: time.monotonic() - self._started,
            is_cancelled=self._watch.cancelled.is_set,
            url=job_urls(job_id, self._settings).model,
        )
        if result.constraints_met is False:
            recorder.warn([CONSTRAINTS_NOT_MET])
        if result.held_out is not None and result.held_out.logit_ensemble is None:
            recorder.warn([HELD_OUT_WITHOUT_ENSEMBLES])
        status = JobStatus.CANCELLED if self._watch.cancelled.is_set() else JobStatus.SUCCEEDED
        self._store.finish(job_id, attempt, status, result)

    def _fail(self, error: JobError) -> None:
        self._store.finish(self._claim.job_id, self._claim.attempt, JobStatus.FAILED, error)

    def _interrupt(self) -> None:
        with self._lock:
            if not self._finalizing:
                self._interrupted.set()

    def _check_held(self) -> None:
        if self._watch.lost.is_set():
            raise FencedOut(f"attempt {self._claim.attempt} of job {self._claim.job_id} no longer holds it")


def _job_error(error: SoupsearchError) -> JobError:
    is_retryable = isinstance(error, StorageFull)
    return JobError(code=error.code, message=error.detail, param=error.param, retryable=is_retryable)
