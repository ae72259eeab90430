"""What a supervisor does beside its job: signs of life, checks of pantries, merges on demand, sweeps."""

import logging
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
from workers.threads import RepeatingThread

BEAT_INTERVAL = 2.0
SWEEP_INTERVAL = 60.0

_log = logging.getLogger(__name__)


class Background:
    """Threads that repeat a task on a connection of their own until ``stop``."""

    def __init__(self, supervisor_id: str, settings: Settings) -> None:
        self._id = supervisor_id
        self._settings = settings
        tasks = [
            ("sign of life", self._beat, BEAT_INTERVAL),
            ("check of a pantry", self._check, 0.0),
            ("merge of a soup", self._merge, 0.0),
            ("sweep", self._sweep, SWEEP_INTERVAL),
        ]
        self._clients = [connect(settings) for _ in tasks]
        self._threads = [
            RepeatingThread(name, partial(task, client), interval)
            for (name, task, interval), client in zip(tasks, self._clients, strict=True)
        ]

    def start(self) -> None:
        """Start the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Have the threads end and wait for them; the supervisor is then known as gone."""
        for thread in self._threads:
            thread.end()
        for thread, client in zip(self._threads, self._clients, strict=True):
            thread.join(timeout=5)
            client.close()
        with connect(self._settings) as client:
            self._registry(client).leave(self._id)

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
