"""Which supervisors live."""

import redis

from service.jobs.keys import Keys

SILENCE = 10.0
"""Seconds without a sign of life after which a supervisor counts as gone."""


class SupervisorRegistry:
    """Supervisors that gave a sign of life within the last ``SILENCE`` seconds, by the clock of Redis."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._redis = client
        self._keys = keys

    def beat(self, supervisor_id: str) -> None:
        """Record that the supervisor is alive, and forget those that fell silent."""
        now = self._now()
        with self._redis.pipeline() as pipeline:
            pipeline.zadd(self._keys.supervisors, {supervisor_id: now})
            pipeline.zremrangebyscore(self._keys.supervisors, 0, now - 10 * SILENCE)
            pipeline.execute()

    def leave(self, supervisor_id: str) -> None:
        """Record that the supervisor ends."""
        self._redis.zrem(self._keys.supervisors, supervisor_id)

    def live(self) -> int:
        """Number of live supervisors."""
        return int(self._redis.zcount(self._keys.supervisors, self._now() - SILENCE, "+inf"))

    def lives_on(self, host: str) -> bool:
        """Whether a live supervisor's id begins with the name of the machine ``host``."""
        living = self._redis.zrangebyscore(self._keys.supervisors, self._now() - SILENCE, "+inf")
        return any(str(supervisor).rpartition("-")[0].rpartition("-")[0] == host for supervisor in living)

    def _now(self) -> float:
        seconds, microseconds = self._redis.time()
        return float(seconds + microseconds / 1e6)
