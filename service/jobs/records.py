"""The common base of the parts of the job store: the connection, the keys and the scripts."""

from typing import Any, NoReturn

import redis

from service.errors import Expired, FencedOut, JobNotFound
from service.jobs.keys import Keys
from service.jobs.lua import Scripts
from service.settings import Settings


class Records:
    """Jobs in Redis under ``settings.redis_prefix``.

    ``client`` must decode responses (see service.connection.connect) and threads may share it.
    """

    def __init__(self, client: redis.Redis, settings: Settings) -> None:
        self.redis = client
        self.settings = settings
        self.keys = Keys(settings.redis_prefix)
        self._scripts = Scripts(client, self.keys)

    @property
    def _job_ttl_ms(self) -> int:
        return 1000 * self.settings.job_ttl

    def _write(self, script: str, job_id: str, attempt: int, *arguments: str | int | float) -> list[Any]:
        """A write by one attempt. Raises FencedOut if it is not the job's current one, JobNotFound, Expired."""
        outcome, rest = self._scripts.run(script, job_id, attempt, *arguments)
        if outcome == "fenced":
            msg = f"attempt {attempt} of job {job_id} no longer holds it: it ended, or another attempt took its place"
            raise FencedOut(msg)
        if outcome == "missing":
            self._raise_missing(job_id)
        if outcome == "not_started":
            msg = f"start attempt {attempt} of job {job_id} before its points are recorded"
            raise ValueError(msg)
        return rest

    def _raise_missing(self, job_id: str) -> NoReturn:
        """JobNotFound, or Expired while the store remembers that the job existed."""
        if self.redis.exists(self.keys.expired(job_id)):
            msg = f"job {job_id} ended more than {self.settings.job_ttl} s ago and was removed: submit it again"
            raise Expired(msg)
        msg = f"there is no job {job_id}: GET /jobs lists all"
        raise JobNotFound(msg)
