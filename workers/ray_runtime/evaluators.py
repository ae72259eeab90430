"""The evaluators of a cluster: found or started, supplied with data, asked for scores."""

import hashlib
import math
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, cast

import ray
from ray.actor import ActorHandle
from ray.exceptions import GetTimeoutError, RayActorError, RayTaskError

from service.errors import Unavailable
from service.settings import Settings
from workers.evaluation.baselines import BaselineScores
from workers.evaluation.errors import EvaluationMemoryError, EvaluationStopped
from workers.evaluation.scores import ModelScore, SoupScore
from workers.ray_runtime.actor import EvaluatorActor
from workers.ray_runtime.connection import NAMESPACE
from workers.ray_runtime.task import EVALUATION_FAILED, HostInfo, Problem, Task, Unprepared
from workers.ray_runtime.version import evaluator_version

Arrays = Mapping[str, Any]
Supplier = Callable[[str], Arrays]
"""Gives the arrays of a key; called only when an evaluator lacks them."""

START_TIMEOUT = 180.0
IDLE_BEFORE_RETIRED = 30.0
RETIRE_INTERVAL = 10.0
MAX_TRIES = 3
_PREFIX = "evaluator-"
_CPUS = 0.01
"""Next to nothing: evaluators that idle between jobs must not keep the next job's from starting."""
_POLL = 0.25
_CONTROL = "control"
"""Concurrency group of the calls that are answered during a batch."""


class Interrupted(Exception):
    """The caller was asked not to wait any longer."""


class EvaluatorPool:
    """All evaluators that ``settings`` ask for, by name.

    They are detached actors: they outlive the job that started them and stay warm for the next. Ray restarts one that
    dies, on another node if need be; it then lacks its data until ``supply``. While ``interrupted`` is set, calls that
    wait for an evaluator raise Interrupted.

    Raises Unavailable (``no_evaluators``) when the cluster has no room for them. All methods that reach evaluators
    raise Unavailable (``evaluator_lost``) when one is lost again and again, and what it refuses (ValueError,
    EvaluationMemoryError, EvaluationStopped).
    """

    def __init__(self, settings: Settings, interrupted: threading.Event) -> None:
        self._settings = settings
        self._interrupted = interrupted
        self._actors = self._start()
        retire_idle(keep=self._actors)
        self.infos = self._await_started()

    @property
    def names(self) -> list[str]:
        """Names of the evaluators."""
        return list(self._actors)

    @property
    def hardware(self) -> list[str]:
        """The kinds of device that compute scores, sorted."""
        return sorted({info.hardware for info in self.infos.values()})

    def supply(self, task: Task, arrays_of: Supplier, names: Sequence[str] | None = None) -> None:
        """Make evaluators (all, or those named) ready for ``task``: each array is sent to those that lack it."""
        chosen = self.names if names is None else list(names)
        references: dict[str, ray.ObjectRef] = {}
        for name in chosen:
            self._persist(name, lambda actor: self._supply_one(actor, task, arrays_of, references))

    def score(
        self, token: str, task: Task, arrays_of: Supplier, soups: Sequence[Sequence[float]], *, detail: bool = False
    ) -> list[SoupScore]:
        """Score soups of a task, spread over the evaluators; the results are in the order of ``soups``."""
        names = self.names[: len(soups)]
        self.supply(task, arrays_of, names)

        def one(position: int) -> SoupScore:
            def call(actor: ActorHandle) -> SoupScore:
                self._supply_one(actor, task, arrays_of, {})
                reference = actor.score.remote(token, task.digest, soups[position], detail=detail)
                score: SoupScore = self._get(reference)
                return score

            result: SoupScore = self._persist(names[position % len(names)], call)
            return result

        with ThreadPoolExecutor(max_workers=len(names)) as threads:
            return list(threads.map(one, range(len(soups))))

    def baselines(self, token: str, task: Task, arrays_of: Supplier) -> BaselineScores:
        """Score what soups are compared with, on one evaluator. Raises EvaluationStopped when ``token`` is stopped."""

        def call(actor: ActorHandle) -> BaselineScores:
            self._supply_one(actor, task, arrays_of, {})
            scores: BaselineScores = self._get(actor.baselines.remote(token, task.digest))
            return scores

        result: BaselineScores = self._persist(self.names[0], call)
        return result

    def ensembles(self, token: str, task: Task, arrays_of: Supplier) -> tuple[ModelScore, ModelScore]:
        """The logit and the softmax ensemble, on one evaluator. Raises EvaluationStopped as ``baselines`` does."""

        def call(actor: ActorHandle) -> tuple[ModelScore, ModelScore]:
            self._supply_one(actor, task, arrays_of, {})
            scores: tuple[ModelScore, ModelScore] = self._get(actor.ensembles.remote(token, task.digest))
            return scores

        return cast(tuple[ModelScore, ModelScore], self._persist(self.names[0], call))

    def revive(self, name: str, problem: Problem, task: Task, arrays_of: Supplier) -> None:
        """Make an evaluator ready again after a problem: one that failed oddly is first replaced by a new process."""
        if problem.code == EVALUATION_FAILED:
            self._restart(name)
        self.supply(task, arrays_of, [name])

    def stop(self, tokens: Sequence[str]) -> None:
        """Have all evaluators end their batches of these tokens; does not wait. From any thread."""
        for actor in self._actors.values():
            _control(actor.stop).remote(tokens)

    def _supply_one(
        self, actor: ActorHandle, task: Task, arrays_of: Supplier, references: dict[str, ray.ObjectRef]
    ) -> None:
        for key in self._get(actor.missing.remote(task)):
            if key not in references:
                references[key] = ray.put(arrays_of(key))
            self._get(actor.load.remote(key, references[key]))
        self._get(actor.prepare.remote(task))

    def _get(self, reference: ray.ObjectRef) -> Any:
        while not ray.wait([reference], timeout=_POLL)[0]:
            self._check_interrupted()
        return ray.get(reference)

    def _check_interrupted(self) -> None:
        if self._interrupted.is_set():
            raise Interrupted

    def _persist(self, name: str, call: Callable[[ActorHandle], Any]) -> Any:
        """Call again after the evaluator was lost, or failed oddly and was replaced: Ray restarts it meanwhile.

        An evaluator that put out the task's data, for another job's, is sound: the call supplies it again.
        """
        failure: Exception = Interrupted()
        for _ in range(MAX_TRIES):
            try:
                return call(self._actors[name])
            except RayTaskError as error:
                self._check_interrupted()
                if isinstance(error.cause, EvaluationMemoryError | EvaluationStopped | ValueError):
                    raise error.cause from error
                failure = error
                if not isinstance(error.cause, Unprepared):
                    self._restart(name)
            except RayActorError as error:
                failure = error
                self._await_alive(name)
        msg = f"{name} was lost {MAX_TRIES} times ({failure}): see the Ray logs, perhaps memory ran out"
        raise Unavailable(msg, code="evaluator_lost") from failure

    def _restart(self, name: str) -> None:
        """A new process: after an error on a GPU all further calls of the old one fail."""
        ray.kill(self._actors[name], no_restart=False)
        self._await_alive(name)

    def _await_alive(self, name: str) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while time.monotonic() < deadline:
            self._check_interrupted()
            try:
                self.infos[name] = ray.get(_control(self._actors[name].info).remote(), timeout=5)
            except (GetTimeoutError, RayActorError):
                time.sleep(0.2)
            else:
                return

    def _start(self) -> dict[str, ActorHandle]:
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
        kind = hashlib.sha256(f"{evaluator_version()} {arguments} {count}".encode()).hexdigest()[:12]
        actor_class = ray.remote(concurrency_groups={_CONTROL: 4})(EvaluatorActor)
        options: dict[str, Any] = {
            "namespace": NAMESPACE,
            "lifetime": "detached",
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
            self._check_interrupted()
            infos |= {waiting.pop(reference): ray.get(reference) for reference in ready}
            if waiting and time.monotonic() > retire_after:
                retire_idle(keep=self._actors)
                retire_after = time.monotonic() + RETIRE_INTERVAL
            if waiting and time.monotonic() > deadline:
                msg = f"the Ray cluster has no room for {len(self._actors)} evaluators: set SOUPSEARCH_EVALUATORS"
                raise Unavailable(msg, code="no_evaluators")
        return infos


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
