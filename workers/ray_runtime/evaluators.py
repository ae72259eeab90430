"""The evaluators of a cluster: finds or starts them, supplies them with data and gives them batches."""

import hashlib
import logging
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any
from uuid import uuid4

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from search.evaluation import Bar, EvaluationRequest
from search.loop import UNSTEERED, Executor, Interrupted, OnFound, ShouldEnd, Steering
from service.errors import Unavailable
from service.settings import Settings
from workers.evaluation.errors import EvaluationMemoryError
from workers.ray_runtime.actor import EvaluatorActor, Reports
from workers.ray_runtime.connection import NAMESPACE
from workers.ray_runtime.dispatcher import Dispatcher
from workers.ray_runtime.task import EVALUATION_FAILED, Failure, HostInfo, Order, Report, Task, Unprepared
from workers.ray_runtime.version import evaluator_version

Arrays = Mapping[str, Any]
Supplier = Callable[[str], Arrays]
"""Returns the arrays of a key; called only if an evaluator lacks them."""

_log = logging.getLogger(__name__)
START_TIMEOUT = 180.0
IDLE_BEFORE_RETIRED = 30.0
HOLD_SECONDS = 60.0
HOLD_INTERVAL = 15.0
BATCHES_PER_EVALUATOR = 2
"""One is in progress, one waits."""
RETIRE_INTERVAL = 10.0
MAX_TRIES = 3
END_SECONDS = 8.0
_PREFIX = "evaluator-"
_CPUS = 0.01
"""Almost nothing: evaluators that idle between jobs must not keep the next job's from starting."""
_POLL = 0.25
_CONTROL = "control"
"""Concurrency group of the calls that must be answered during a batch."""


class EvaluatorPool:
    """The evaluators that ``settings`` ask for, by name.

    They are detached actors: they outlive the job that started them and stay warm for the next. Without ``lasting``
    they are this process's alone, and end with its connection to the cluster. Ray restarts one that dies, on another
    node if need be; it then lacks its data until ``supply``. While ``interrupted`` is set, calls that wait for an
    evaluator raise Interrupted. While this process lives, no other job retires these evaluators.

    Raises Unavailable (``no_evaluators``) if the cluster has no room for them. All methods that call evaluators raise
    Unavailable (``evaluator_lost``) if one is lost repeatedly.
    """

    def __init__(self, settings: Settings, interrupted: threading.Event, *, lasting: bool = True) -> None:
        self._settings = settings
        self._interrupted = interrupted
        self._actors = self._start(lasting=lasting)
        retire_idle(keep=self._actors)
        self._stopped: list[str] = []
        self._restarting = {name: threading.Lock() for name in self._actors}
        threading.Thread(target=self._hold, name="hold-evaluators", daemon=True).start()
        self.infos = self._await_started()

    @property
    def names(self) -> list[str]:
        """Names of the evaluators."""
        return list(self._actors)

    @property
    def hardware(self) -> list[str]:
        """The kinds of device that the evaluators use, sorted."""
        return sorted({info.hardware for info in self.infos.values()})

    def supply(self, task: Task, arrays_of: Supplier, names: Sequence[str] | None = None) -> None:
        """Make evaluators (all, or those named) ready for ``task``: each array is sent to those that lack it."""
        chosen = self.names if names is None else list(names)
        references: dict[str, ray.ObjectRef] = {}
        lock = threading.Lock()

        def put(key: str) -> ray.ObjectRef:
            with lock:
                if key not in references:
                    references[key] = ray.put(arrays_of(key))
                return references[key]

        def supply(name: str) -> None:
            self._persist(name, lambda actor: self._supply_one(actor, task, put))

        with ThreadPoolExecutor(max_workers=len(chosen)) as threads:
            list(threads.map(supply, chosen))

    def executor(self, task: Task, arrays_of: Supplier, token: str) -> "PoolExecutor":
        """An executor that evaluates requests on ``task`` on behalf of ``token``."""
        return PoolExecutor(self, task, arrays_of, token)

    def revive(self, name: str, failure: Failure, task: Task, arrays_of: Supplier) -> None:
        """Make an evaluator ready again after a failure; after an unforeseen one, replace its process first."""
        if failure.code == EVALUATION_FAILED:
            self._restart(name, failure.pid)
        self.supply(task, arrays_of, [name])

    def stop(self, tokens: Sequence[str]) -> None:
        """Make all evaluators end their batches of these tokens, without waiting. Call from any thread."""
        self._stopped += tokens
        for actor in self._actors.values():
            _control(actor.stop).remote(tokens)

    def raise_bar(self, token: str, bar: Bar) -> None:
        """Make all evaluators drop soups of ``token`` that do not clear ``bar``, without waiting."""
        for actor in self._actors.values():
            _control(actor.raise_bar).remote(token, bar)

    def check_interrupted(self) -> None:
        """Raise Interrupted while ``interrupted`` is set."""
        if self._interrupted.is_set():
            raise Interrupted

    def check_wanted(self, token: str, should_end: ShouldEnd) -> None:
        """As ``check_interrupted``; on ``should_end``, stop the work of ``token`` and raise Interrupted as well."""
        self.check_interrupted()
        if should_end():
            self.stop([token])
            raise Interrupted

    def _hold(self) -> None:
        while ray.is_initialized():
            for name, actor in self._actors.items():
                try:
                    _control(actor.hold).remote(HOLD_SECONDS)
                except Exception:  # noqa: BLE001 - the others are to be held all the same
                    _log.exception("%s could not be held", name)
            time.sleep(HOLD_INTERVAL)

    def _supply_one(self, actor: ActorHandle, task: Task, put: Callable[[str], ray.ObjectRef]) -> None:
        missing = self._get(actor.missing.remote(task.digest, task.keys))
        if missing is None:
            return
        for key in missing:
            self._get(actor.load.remote(key, put(key)))
        self._get(actor.prepare.remote(task))

    def _get(self, reference: ray.ObjectRef) -> Any:
        while not ray.wait([reference], timeout=_POLL)[0]:
            self.check_interrupted()
        return ray.get(reference)

    def _persist(self, name: str, call: Callable[[ActorHandle], Any]) -> Any:
        """Call again if the evaluator was lost, or was replaced after an unforeseen failure; Ray restarts it meanwhile.

        An evaluator that evicted the task's data to make room for another job is sound: the call supplies them again.
        """
        failure: Exception = Interrupted()
        for _ in range(MAX_TRIES):
            try:
                return call(self._actors[name])
            except RayTaskError as error:
                self.check_interrupted()
                if isinstance(error.cause, ValueError | EvaluationMemoryError):
                    raise error.cause from error
                failure = error
                if not isinstance(error.cause, Unprepared):
                    self._restart(name, getattr(error, "pid", None))
            except RayActorError as error:
                failure = error
                self._await_alive(name)
        msg = f"{name} was lost {MAX_TRIES} times ({failure}): see the Ray logs, perhaps memory ran out"
        raise Unavailable(msg, code="evaluator_lost") from failure

    def _restart(self, name: str, failed: int | None) -> None:
        """A new process: after an error on a GPU all further calls of the old one fail.

        Several batches may report the same error. Only the first of them ends the process ``failed``.
        """
        with self._restarting[name]:
            if failed is None or failed == self.infos[name].pid:
                ray.kill(self._actors[name], no_restart=False)
                self._await_alive(name, failed)

    def _await_alive(self, name: str, ended: int | None = None) -> None:
        """Wait until the evaluator answers again, not from the process ``ended``."""
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            self.check_interrupted()
            try:
                info: HostInfo = ray.get(_control(self._actors[name].info).remote(), timeout=5)
                _control(self._actors[name].stop).remote(self._stopped)  # a new process has not heard of them
            except (GetTimeoutError, RayActorError):
                time.sleep(0.2)
                continue
            if info.pid == ended:
                time.sleep(0.2)
                continue
            if info.hardware not in self.hardware:
                msg = f"{name} was restarted on other hardware ({info.hardware}): its outcomes may differ"
                raise Unavailable(msg, code="hardware_changed")
            self.infos[name] = info
            return

    def _start(self, *, lasting: bool) -> dict[str, ActorHandle]:
        resources = ray.cluster_resources()
        gpus = 0 if self._settings.evaluator_device == "cpu" else int(resources.get("GPU", 0))
        count = self._settings.evaluators or max(1, gpus)
        nodes = sum(1 for node in ray.nodes() if node["Alive"] and node["Resources"].get("CPU"))
        arguments = (
            self._settings.evaluator_device,
            self._settings.evaluator_threads,
            math.ceil(count / max(nodes, 1)),
            self._settings.evaluator_cache_bytes,
        )
        # Excludes the numbers of GPUs and nodes: a node that joins adds evaluators and replaces none.
        wanted = self._settings
        settings = (wanted.evaluators, wanted.evaluator_device, wanted.evaluator_threads, bool(gpus))
        text = f"{evaluator_version()} {settings}" if lasting else uuid4().hex
        kind = hashlib.sha256(text.encode()).hexdigest()[:12]
        actor_class = ray.remote(concurrency_groups={_CONTROL: 4})(EvaluatorActor)
        options: dict[str, Any] = {
            "namespace": NAMESPACE,
            "lifetime": "detached" if lasting else None,
            "get_if_exists": True,
            "max_restarts": -1,
            "max_task_retries": 0,
            "num_cpus": _CPUS,
            "num_gpus": 1 if gpus else 0,
            "scheduling_strategy": "SPREAD",
        }
        names = [f"{_PREFIX}{kind}-{index}" for index in range(count)]
        return {name: actor_class.options(name=name, **options).remote(*arguments) for name in names}

    def _await_started(self) -> dict[str, HostInfo]:
        waiting = {_control(actor.info).remote(): name for name, actor in self._actors.items()}
        infos: dict[str, HostInfo] = {}
        retire_after = time.monotonic() + RETIRE_INTERVAL
        deadline = time.monotonic() + START_TIMEOUT
        while waiting:
            ready, _ = ray.wait(list(waiting), timeout=_POLL)
            self.check_interrupted()
            infos |= {waiting.pop(reference): ray.get(reference) for reference in ready}
            if waiting and time.monotonic() > retire_after:
                retire_idle(keep=self._actors)
                retire_after = time.monotonic() + RETIRE_INTERVAL
            if waiting and time.monotonic() > deadline:
                msg = f"the Ray cluster has no room for {len(self._actors)} evaluators: set SOUPSEARCH_EVALUATORS"
                raise Unavailable(msg, code="no_evaluators")
        return infos


class PoolExecutor(Executor):
    """Evaluates requests on ``task`` by the evaluators of ``pool``, on behalf of ``token``."""

    def __init__(self, pool: EvaluatorPool, task: Task, arrays_of: Supplier, token: str) -> None:
        self._pool = pool
        self._task = task
        self._arrays_of = arrays_of
        self._token = token

    def evaluate(
        self, requests: Sequence[EvaluationRequest], on_found: OnFound, steering: Steering = UNSTEERED
    ) -> None:
        """See ``Executor``. Raises as ``Dispatcher.run`` does."""
        if not requests:
            return
        names = self._pool.names[: len(requests) * self._task.blocks]
        self._pool.supply(self._task, self._arrays_of, names)
        dispatcher = Dispatcher(names, self._task.blocks, len(requests), partial(self._pool.raise_bar, self._token))
        count = BATCHES_PER_EVALUATOR * len(names)
        threads = [threading.Thread(target=self._work, args=(dispatcher,), daemon=True) for _ in range(count)]
        for thread in threads:
            thread.start()
        try:
            check = partial(self._pool.check_wanted, self._token, steering.should_end)
            dispatcher.run(requests, on_found, check, steering.bar)
        finally:
            dispatcher.close()
            # Ray crashes when the connection ends while a thread waits in it.
            until = time.monotonic() + END_SECONDS
            for thread in threads:
                thread.join(max(0.0, until - time.monotonic()))

    def _work(self, dispatcher: Dispatcher) -> None:
        try:
            while (batch := dispatcher.next_batch(batch_id := uuid4().hex, wait=True)) is not None:
                reports = Reports(batch.evaluator, Order(self._token, self._task.digest, batch.requests, batch.bar))
                last = _follow(reports, dispatcher, batch_id)
                if last is None:
                    return
                if last.failure is not None and last.failure.retryable and not dispatcher.is_closed:
                    self._pool.revive(batch.evaluator, last.failure, self._task, self._arrays_of)
                dispatcher.end(batch_id, last.failure)
        except Exception as error:  # noqa: BLE001 - raised again by the caller
            dispatcher.fail(error)


def _follow(reports: Reports, dispatcher: Dispatcher, batch_id: str) -> Report | None:
    """Pass on the reports on a batch and return the last; None if the dispatcher was closed meanwhile."""
    while not dispatcher.is_closed:
        if reports.ready(_POLL):
            report = reports.next()
            dispatcher.take(batch_id, report)
            if report.last:
                return report
    return None


def retire_idle(keep: Mapping[str, ActorHandle]) -> None:
    """End evaluators of other versions or settings that have been idle: they hold memory and devices."""
    for entry in ray.util.list_named_actors(all_namespaces=True):
        name = entry["name"]
        if entry["namespace"] != NAMESPACE or not name.startswith(_PREFIX) or name in keep:
            continue
        try:
            actor = ray.get_actor(name, namespace=NAMESPACE)
            if ray.get(_control(actor.idle_seconds).remote(), timeout=5) > IDLE_BEFORE_RETIRED:
                ray.kill(actor)
        except (ValueError, GetTimeoutError, RayActorError):
            continue


def _control(method: Any) -> Any:
    return method.options(concurrency_group=_CONTROL)
