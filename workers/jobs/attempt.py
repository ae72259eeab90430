"""One attempt at a job, from claim to end."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from search.budget import Budget, Meter
from search.continuation import Continuation, most_soups
from search.loop import Interrupted, SearchEnd, run_search
from search.space import SearchError
from search.strategy import Strategy, kind_of
from service.artifacts import open_store
from service.errors import FencedOut, InvalidRequest, Unavailable
from service.jobs.documents import job_urls
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import JobError, JobStatus, JobWarning
from service.schemas.request import AdaptRequest
from service.schemas.result import Result
from service.settings import Settings
from workers.faults import Fault, fault_of, job_error
from workers.jobs.finalize import ATTACKS, Finalizer
from workers.jobs.material import Material, scope_of
from workers.jobs.preflight import Preflight, run_preflight, warn_of_time
from workers.jobs.progress import CancelWatch, Recorder
from workers.jobs.scoring import Scoring
from workers.ray_runtime.connection import connect
from workers.ray_runtime.evaluators import EvaluatorPool
from workers.ray_runtime.tuning import TuneExecutor

FINAL = ":final"
CONSTRAINTS_NOT_MET = JobWarning(
    code="constraints_not_met",
    message="no soup meets all constraints: the best is the one that violates them least, see result.constraints",
)
LAYERS_NOT_FITTED = JobWarning(
    code="layers_not_fitted",
    message="weights by layer could not be fitted: the model gives no gradients, or they do not fit into memory. The "
    "best soup is delivered without them; the log of the worker says why",
)
HELD_OUT_WITHOUT_ENSEMBLES = JobWarning(
    code="held_out_without_ensembles",
    message="the ensembles did not fit into memory on the held-out images: result.held_out leaves them out",
)


@dataclass(frozen=True)
class _Plan:
    """How to start the request's strategy, the most soups that it may evaluate, and what may end it sooner.

    ``continues`` says whether it goes on from another job's soups.
    """

    start: Callable[[], Strategy]
    bound: int
    budget: Budget | None
    continues: bool

    def soups_of(self, passes: int) -> int:
        """The most soups that the budget allows if each takes so many forward passes."""
        limit = None if self.budget is None else self.budget.forward_passes
        return self.bound if limit is None else min(self.bound, limit // passes)


def is_without_layers(result: Result, request: AdaptRequest) -> bool:
    """Whether weights by layer were asked for and could not be tried."""
    return request.refine.layers == "auto" and result.layers is None and not result.partial


def choice_not_trusted(result: Result) -> JobWarning:
    """Warns of a choice without labels that other signs speak against."""
    doubts = [] if result.label_free is None else result.label_free.doubts
    images = ", ".join(each.image for each in result.label_next)
    advice = f"label some images, best of all {images}" if images else "label some images"
    message = f"this choice is not to be trusted: {'; '.join(doubts)}. {advice[0].upper()}{advice[1:]}"
    return JobWarning(code="choice_not_trusted", message=message)


class Attempt:
    """Runs a claimed job to its end and writes all of its states; meanwhile the supervisor holds the lease.

    Errors that the user can fix end the job as ``failed``. Errors that another attempt may fix (Unavailable, lost
    connections, anything unforeseen) are raised. ``folder`` is for temporary files. Afterwards the process is still
    connected to Ray, and Tune may still run: end the process.
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
        """Run the job. Raises FencedOut if the job no longer belongs to this attempt."""
        try:
            self._run()
        except Interrupted:
            self._check_held()
            self._end_interrupted()
        except Exception as error:
            if fault_of(error) is not Fault.USER:
                raise
            self._fail(job_error(error))

    def _run(self) -> None:
        job = self._store.get(self._claim.job_id)
        material = Material(job.request, self._settings)
        scoring = Scoring(
            material.request,
            [each.stored.digest for each in material.sets],
            unlabelled={place: each.labels for place, each in enumerate(material.sets) if not each.is_labelled},
            images=[len(each.split.selection) for each in material.sets],
            accepted=[each.accepted_classes for each in material.sets],
        )
        plan = self._plan(material, scoring)
        recorder = Recorder(self._store, self._claim, scoring, material.names)
        # A job cancelled between two attempts still keeps the best soup found so far.
        self._finalizing = job.status is JobStatus.CANCELLING
        self._watch.on_cancel(self._interrupt)
        connect(self._settings)
        pool = EvaluatorPool(self._settings, self._interrupted)
        self._watch.on_cancel(lambda: pool.stop(self._tokens(self._claim.attempt)))
        pool.stop([token for earlier in range(1, self._claim.attempt) for token in self._tokens(earlier)])
        preflight, end = None, None
        recorder.load()
        if not self._finalizing:
            preflight, end = self._search(material, scoring, pool, recorder, plan)
        self._check_held()
        finalizer = Finalizer(material, scoring, pool, open_store(self._settings), f"{self._token}{FINAL}")
        self._finish(finalizer, recorder, preflight, end)

    def _plan(self, material: Material, scoring: Scoring) -> "_Plan":
        request = material.request
        try:
            space = request.search.space(material.names)
            kind, budget = kind_of(request.search), request.search.limits(space)
            earlier = self._store.earlier(self._claim.job_id)
            bound = most_soups(kind.bound(request.search, space), len(earlier), budget)
            if bound > self._settings.max_points:
                msg = f"the search has {bound} points, more than {self._settings.max_points}: take a greater step"
                raise InvalidRequest(msg, param="search", code="too_many_points")

            def start() -> Strategy:
                strategy = kind.start(request.search, space, scoring.objectives, request.seed)
                return Continuation(strategy, earlier, budget) if earlier else strategy

            return _Plan(start, bound, budget, bool(earlier))
        except SearchError as error:
            raise InvalidRequest(str(error), param="search", code=error.code) from error

    def _tokens(self, attempt: int) -> list[str]:
        """Tokens of the work that may be cut short: the search, and the attacks on its winner."""
        token = f"{self._claim.job_id}:{attempt}"
        return [token, f"{token}{FINAL}{ATTACKS}"]

    def _search(
        self,
        material: Material,
        scoring: Scoring,
        pool: EvaluatorPool,
        recorder: Recorder,
        plan: "_Plan",
    ) -> tuple[Preflight | None, SearchEnd | None]:
        """Run the search; its end is None if the user cancels, and so is the preflight if it was not finished."""
        preflight = None
        task = material.selection(material.request.precision)
        executor = TuneExecutor(
            pool,
            task,
            material.arrays_of,
            self._token,
            batch_size=self._settings.points_per_trial,
            folder=self._folder,
        )
        try:
            preflight = run_preflight(material, scoring, pool, self._token)
            refinement, hardware = preflight.refinement, pool.hardware
            scoring.guard(preflight.ingredients)
            a_soup = material.passes_a_soup(refinement)
            bound = plan.bound if material.attacks else plan.soups_of(a_soup)
            scope = scope_of(material, hardware, self._settings.batch_size, refinement)
            searched = recorder.start(bound, scope, None if plan.budget is None else plan.budget.seconds)
            recorder.warn(preflight.warnings)
            recorder.warn(warn_of_time(material, preflight.compared.baselines, bound, len(pool.names), plan.budget))
            if material.request.precision == "float32":
                recorder.offer(preflight.known)
            meter = Meter(
                plan.budget, scoring.objectives, passes_a_soup=a_soup, continues=plan.continues, spent=searched
            )
            if meter.affordable() == 0:
                msg = f"one soup takes up to {a_soup} forward passes: allow more"
                raise InvalidRequest(msg, param="search.budget.forward_passes")
            end = run_search(
                plan.start(),
                plan.bound,
                executor,
                recorder,
                recorder,
                refinement=refinement,
                keep_logits=scoring.objectives.reads_logits,
                meter=meter,
            )
            if recorder.speed is not None:
                self._store.note_speed(material.echo.kind_of_work, recorder.speed)
        except Interrupted:
            return preflight, None
        finally:
            executor.close()
        return preflight, end

    def _finish(
        self, finalizer: Finalizer, recorder: Recorder, preflight: Preflight | None, end: SearchEnd | None
    ) -> None:
        with self._lock:
            self._finalizing = True
            self._interrupted.clear()
        job_id, attempt = self._claim.job_id, self._claim.attempt
        if self._watch.cancelled.is_set() and not recorder.ranked():
            raise Interrupted
        self._store.set_phase(job_id, attempt, "finalizing", None if end is None else len(recorder.points))
        result = finalizer.finish(
            recorder.ranked(),
            preflight,
            crossed=None if finalizer.material.request.search.drops_soups else recorder.cross_validated(),
            tried=recorder.tried,
            progress=self._store.get(job_id).progress,
            ended_by="cancelled" if end is None else end.by,
            reused=recorder.reused,
            seconds=lambda: time.monotonic() - self._started,
            is_cancelled=self._watch.cancelled.is_set,
            url=job_urls(job_id, self._settings).model,
        )
        if result.constraints_met is False:
            recorder.warn([CONSTRAINTS_NOT_MET])
        if result.held_out is not None and result.held_out.logit_ensemble is None:
            recorder.warn([HELD_OUT_WITHOUT_ENSEMBLES])
        if is_without_layers(result, finalizer.material.request):
            recorder.warn([LAYERS_NOT_FITTED])
        if result.label_free is not None and result.label_free.doubts:
            recorder.warn([choice_not_trusted(result)])
        status = JobStatus.CANCELLED if self._watch.cancelled.is_set() else JobStatus.SUCCEEDED
        self._store.finish(job_id, attempt, status, result)

    def _end_interrupted(self) -> None:
        """End a cancelled job without a result; if earlier attempts found soups, keep the best of them instead."""
        job_id, attempt = self._claim.job_id, self._claim.attempt
        if not self._finalizing and any(point.score is not None for point in self._store.iter_points(job_id)):
            raise Unavailable(f"attempt {attempt} at job {job_id} was cancelled as it began", code="interrupted")
        self._store.finish(job_id, attempt, JobStatus.CANCELLED)

    def _fail(self, error: JobError) -> None:
        self._store.finish(self._claim.job_id, self._claim.attempt, JobStatus.FAILED, error)

    def _interrupt(self) -> None:
        with self._lock:
            if not self._finalizing:
                self._interrupted.set()

    def _check_held(self) -> None:
        if self._watch.lost.is_set():
            raise FencedOut(f"attempt {self._claim.attempt} of job {self._claim.job_id} no longer holds it")
