"""The queue for supervisors: claims, leases and attempts."""

import secrets
from dataclasses import dataclass
from typing import Literal

from service.errors import Expired, FencedOut, JobNotFound
from service.jobs.records import Records
from service.schemas.job import JobError, JobStatus
from service.schemas.result import Result

MAX_BLOCK_MS = 10_000
"""Longest wait in one call, well below the timeout of a connection."""


@dataclass(frozen=True)
class FailedAttempt:
    """What a failed attempt means for its job."""

    retried: bool
    """Whether the job is tried again; if not, it has ended."""
    count: int
    """Total failures, or losses in a row without a new point."""


@dataclass(frozen=True)
class Claim:
    """One attempt at a job; every write carries the attempt number and is refused once it is superseded."""

    job_id: str
    attempt: int


class JobQueue(Records):
    """Claims with leases: each waiting job goes to one supervisor, and back to the queue if that one falls silent.

    A failed or released job is claimed before those that never ran. It ends as ``failed`` with ``attempts_exhausted``
    after ``settings.max_attempts`` attempts that failed by its own fault, and after ``settings.max_losses`` in a row
    that were lost (an expired lease is a loss) without a new point. A release is neither.
    """

    def claim(self, supervisor_id: str, block_ms: int = 0) -> Claim | None:
        """Take the next job for ``settings.lease`` seconds, or None if none came within ``block_ms``.

        Waits at most ten seconds. First returns the jobs of silent supervisors to the queue.
        """
        token = secrets.token_hex(8)
        claim, last_entry, wait = self._try_claim(supervisor_id, token)
        if claim is not None or block_ms <= 0:
            return claim
        block_ms = min(block_ms, MAX_BLOCK_MS, wait if wait >= 0 else MAX_BLOCK_MS)
        self.redis.xread({self.keys.queue: last_entry}, count=1, block=max(block_ms, 1))
        return self._try_claim(supervisor_id, token)[0]

    def _try_claim(self, supervisor_id: str, token: str) -> tuple[Claim | None, str, int]:
        lease_ms = round(1000 * self.settings.lease)
        outcome, rest = self._scripts.run(
            "claim", supervisor_id, token, lease_ms, self.settings.max_losses, self._job_ttl_ms
        )
        if outcome == "ok":
            return Claim(str(rest[0]), int(rest[1])), "", 0
        return None, str(rest[0]), int(rest[1])

    def renew(self, job_id: str, attempt: int, lease_s: float | None = None) -> bool:
        """Hold the job for another ``lease_s`` (default ``settings.lease``) seconds.

        False if the attempt is no longer the current one: stop its child.
        """
        lease_ms = round(1000 * (self.settings.lease if lease_s is None else lease_s))
        try:
            self._write("renew", job_id, attempt, lease_ms)
        except (FencedOut, JobNotFound, Expired):
            return False
        return True

    def release(self, job_id: str, attempt: int) -> None:
        """At shutdown, return the job unharmed for another supervisor. Raises FencedOut, JobNotFound."""
        self._write("release", job_id, attempt)

    def fail_attempt(self, job_id: str, attempt: int, reason: str, *, lost: bool = False) -> FailedAttempt:
        """Note that the attempt failed by the job's own fault, or was ``lost`` by the infrastructure's.

        A job being cancelled ends as ``cancelled`` after its last attempt. Raises FencedOut, JobNotFound.
        """
        limit = self.settings.max_losses if lost else self.settings.max_attempts
        retried, count = self._write("fail", job_id, attempt, reason, int(lost), limit, self._job_ttl_ms)
        return FailedAttempt(bool(retried), int(count))

    def set_phase(
        self, job_id: str, attempt: int, status: Literal["running", "finalizing"], total_points: int | None = None
    ) -> None:
        """Move between running and finalizing; a job being cancelled stays ``cancelling``. Raises FencedOut.

        ``total_points`` corrects the size of a search that ended on its own before its bound.
        """
        self._write("phase", job_id, attempt, status, "" if total_points is None else total_points)

    def should_cancel(self, job_id: str, attempt: int) -> bool:
        """Whether the user asked to cancel. Raises FencedOut when the attempt is superseded, JobNotFound."""
        holder, status = self.redis.hmget(self.keys.job(job_id), ["holder", "status"])
        if status is None:
            self._raise_missing(job_id)
        if holder != str(attempt):
            msg = f"attempt {attempt} of job {job_id} no longer holds it"
            raise FencedOut(msg)
        return bool(status == JobStatus.CANCELLING)

    def finish(self, job_id: str, attempt: int, status: JobStatus, outcome: Result | JobError | None = None) -> None:
        """End the job for good: succeeded with its result, failed with its error, cancelled with any result so far.

        The model of the result must already be in the artifact store. Raises FencedOut, JobNotFound.
        """
        wanted = {JobStatus.SUCCEEDED: Result, JobStatus.FAILED: JobError}.get(status)
        if not status.is_terminal or (wanted is not None and not isinstance(outcome, wanted)):
            msg = f"a job cannot end as {status} with {type(outcome).__name__}"
            raise ValueError(msg)
        result = outcome.model_dump_json() if isinstance(outcome, Result) else ""
        error = outcome.model_dump_json(exclude={"attempts"}) if isinstance(outcome, JobError) else ""
        model = outcome.model.sha256 if isinstance(outcome, Result) else ""
        self._write("finish", job_id, attempt, status, self._job_ttl_ms, result, error, model)
