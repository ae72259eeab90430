"""When a cancelled job has to be ended from outside its process."""

import time

import redis

from service.errors import SoupsearchError
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import Job, JobStatus

CANCEL_GRACE = 3.5
"""Seconds that the process of a job without points has to end by itself; it may be connecting to Ray, which waits."""


class Cancellation:
    """Whether ``claim`` was cancelled ``CANCEL_GRACE`` seconds ago and still has no point.

    A job with points is never overdue: its process has the best soup to merge.
    """

    def __init__(self, claim: Claim, store: JobStore) -> None:
        self._claim = claim
        self._store = store
        self._noticed: float | None = None

    def is_overdue(self) -> bool:
        """Ask the store. False while it does not answer, and for a job that is another attempt's: the lease tells."""
        try:
            if not self._store.should_cancel(self._claim.job_id, self._claim.attempt):
                return False
            self._noticed = self._noticed or time.monotonic()
            grace_is_over = time.monotonic() - self._noticed >= CANCEL_GRACE
            return grace_is_over and has_nothing_to_keep(self._store.get(self._claim.job_id))
        except (redis.RedisError, SoupsearchError):
            return False


def has_nothing_to_keep(job: Job) -> bool:
    """Whether the job is being cancelled and has no point, so that it can end without a result."""
    return job.status is JobStatus.CANCELLING and job.progress.done == 0
