"""What a supervisor does beside its job: signs of life, checks of pantries, merges on demand, sweeps."""

import logging
import threading
from collections.abc import Callable
from functools import partial

import redis

from service.artifacts import open_store
from service.connection import connect
from service.jobs import merging
from service.jobs.keys import Keys
from service.jobs.store import JobStore
from service.jobs.supervisors import SupervisorRegistry
from service.pantries.verification import answer_next
from service.settings import Settings
from workers.supervisor.check import check_in_process
from workers.supervisor.logs import remove_old_logs
from workers.supervisor.merging import merge_in_process

BEAT_INTERVAL = 2.0
SWEEP_INTERVAL = 60.0
_RETRY = 1.0

_log = logging.getLogger(__name__)
Task = Callable[[redis.Redis], None]


class Background:
    """Threads that repeat a task on a connection of their own until ``stop``; an unreachable Redis is waited for."""

    def __init__(self, supervisor_id: str, settings: Settings) -> None:
        self._id = supervisor_id
        self._settings = settings
        self._stopping = threading.Event()
        tasks: list[tuple[Task, float]] = [
            (self._beat, BEAT_INTERVAL),
            (self._check, 0.0),
            (self._merge, 0.0),
            (self._sweep, SWEEP_INTERVAL),
        ]
        self._threads = [
            threading.Thread(target=self._repeat, args=task, name=task[0].__name__, daemon=True) for task in tasks
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Have the threads end and wait for them; the supervisor is then known as gone."""
        self._stopping.set()
        for thread in self._threads:
            thread.join(timeout=5)
        with connect(self._settings) as client:
            self._registry(client).leave(self._id)

    def _repeat(self, task: Task, interval: float) -> None:
        with connect(self._settings) as client:
            while not self._stopping.is_set():
                try:
                    task(client)
                    pause = interval
                except (redis.RedisError, OSError) as error:
                    _log.warning("%s: %s", task.__name__, error)
                    pause = max(interval, _RETRY)
                self._stopping.wait(pause)

    def _registry(self, client: redis.Redis) -> SupervisorRegistry:
        return SupervisorRegistry(client, Keys(self._settings.redis_prefix))

    def _beat(self, client: redis.Redis) -> None:
        self._registry(client).beat(self._id)

    def _check(self, client: redis.Redis) -> None:
        answer_next(client, self._settings, check_in_process, timeout=1.0)

    def _merge(self, client: redis.Redis) -> None:
        merging.answer_next(client, self._settings, partial(merge_in_process, self._settings), timeout=1.0)

    def _sweep(self, client: redis.Redis) -> None:
        store = JobStore(client, self._settings)
        expired = store.sweep()
        removed = open_store(self._settings).sweep(store.in_use())
        logs = remove_old_logs(self._settings.data_dir, self._settings.job_ttl)
        if expired or removed or logs:
            _log.info("removed %d expired jobs, %d artifacts and uploads, and %d logs", len(expired), removed, logs)
