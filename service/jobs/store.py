"""The job store: all states of all jobs, kept only in Redis."""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field

from search.evaluation import Weights
from service.errors import DeletedMeanwhile, IdempotencyConflict, JobNotFinished, QuotaExceeded
from service.jobs.catalogue import JobCatalogue, cursor
from service.jobs.documents import job_of
from service.jobs.journal import JobJournal
from service.jobs.keys import idempotency_name
from service.jobs.queue import JobQueue
from service.schemas.job import Job, JobPage, JobStatus, RequestEcho

SWEEP_BATCH = 100


def new_job_id() -> str:
    """A random id: 80 bits, so that nobody can guess the id of another user's job."""
    return secrets.token_hex(10)


@dataclass(frozen=True)
class NewJob:
    """A checked request, about to become a job.

    ``looked_up`` is the time of ``JobStore.now`` before the pantry and the sets were looked up; a job is refused if
    one of them was deleted after that time. ``earlier`` are the soups of the job from which it goes on.
    """

    request: RequestEcho
    looked_up: int = 0
    earlier: Sequence[Weights] = ()
    id: str = field(default_factory=new_job_id)


@dataclass(frozen=True)
class Submission:
    """The job that a request led to; ``created`` is False if an earlier request with its key made it."""

    job_id: str
    created: bool


@dataclass(frozen=True)
class Accepted:
    """The meaning of an idempotency key: a job, and the digest of the request body."""

    job_id: str
    body_digest: str


class JobStore(JobQueue, JobJournal, JobCatalogue):
    """Jobs from acceptance to expiry, shared by API processes, supervisors and children.

    Every change is one Lua script: it happens completely or not at all, and repeating a call after a lost connection
    does no harm. Accepted jobs are never lost while Redis keeps its append-only file. Methods with an ``attempt`` are
    for workers, and are refused (FencedOut) for any but the current attempt. All methods raise redis.RedisError if
    Redis stays unreachable.
    """

    def submit(self, job: NewJob, *, idempotency_key: str | None, body_digest: str) -> Submission:
        """Accept a job. The same key with the same body digest returns the job of the first call.

        The job then refers to its pantry and sets until it is removed. Raises IdempotencyConflict for the same key with
        another body, QuotaExceeded if too many jobs wait, DeletedMeanwhile.
        """
        request = job.request
        outcome, rest = self._scripts.run(
            "submit",
            job.id,
            "" if idempotency_key is None else idempotency_name(idempotency_key),
            body_digest,
            self.settings.idempotency_ttl,
            self.settings.max_queued_jobs,
            request.model_dump_json(),
            request.pantry_digest,
            ",".join(request.adaptation_sets),
            job.looked_up,
            json.dumps(job.earlier) if job.earlier else "",
        )
        if outcome == "conflict":
            msg = f"this Idempotency-Key belongs to job {rest[0]} with another body: take a new key for a new request"
            raise IdempotencyConflict(msg, param="Idempotency-Key")
        if outcome == "full":
            msg = f"{rest[0]} jobs wait or are paused, of at most {self.settings.max_queued_jobs}: try again later"
            raise QuotaExceeded(msg)
        if outcome == "deleted":
            what = "pantry" if rest[0] == "pantries" else f"adaptation set {rest[1]}"
            raise DeletedMeanwhile(f"the {what} was deleted while the request was checked: send it again")
        return Submission(str(rest[0]), bool(rest[1]))

    def by_key(self, idempotency_key: str) -> Accepted | None:
        """The job that an earlier ``submit`` with this key accepted, while the key is remembered."""
        name = self.keys.idempotency(idempotency_name(idempotency_key))
        job_id, body_digest = self.redis.hmget(name, ["job", "digest"])
        return None if job_id is None else Accepted(str(job_id), str(body_digest))

    def get(self, job_id: str) -> Job:
        """The job as it is now. Raises JobNotFound, or Expired if it was removed after its time."""
        fields = self._fields([job_id])[0]
        if not fields:
            self._raise_missing(job_id)
        return self._job(job_id, fields, self._positions() if fields["status"] == JobStatus.QUEUED else {})

    def cancel(self, job_id: str) -> Job:
        """Ask to end a job: one that waits or is paused without points is cancelled at once, others that have not ended
        are ``cancelling`` until a worker has merged the best soup so far.

        Raises JobNotFound, Expired.
        """
        return self._ask("cancel", job_id, self._job_ttl_ms)

    def pause(self, job_id: str) -> Job:
        """Put a job aside until ``resume`` or ``cancel``, with all points so far; it never expires meanwhile.

        An attempt that runs is superseded. A job that has ended or is being cancelled stays as it is. Raises
        JobNotFound, Expired.
        """
        return self._ask("pause", job_id)

    def resume(self, job_id: str) -> Job:
        """Put a paused job at the end of the queue; any other stays as it is. Raises JobNotFound, Expired."""
        return self._ask("resume", job_id)

    def _ask(self, script: str, job_id: str, *arguments: int) -> Job:
        if self._scripts.run(script, job_id, *arguments)[0] == "missing":
            self._raise_missing(job_id)
        return self.get(job_id)

    def delete(self, job_id: str) -> None:
        """Remove an ended job, its points and events; the artifact store's next sweep removes its model.

        Raises JobNotFound, Expired, JobNotFinished.
        """
        outcome, rest = self._scripts.run("delete", job_id)
        if outcome == "missing":
            self._raise_missing(job_id)
        if outcome == "not_ended":
            first = "wait" if rest[0] == JobStatus.CANCELLING else "cancel it"
            msg = f"job {job_id} is {rest[0]}: {first}, and delete it once it has ended"
            raise JobNotFinished(msg)

    def sweep(self) -> tuple[str, ...]:
        """Remove jobs that are past their time and return their ids; for another ``job_ttl`` they answer Expired."""
        removed: tuple[str, ...] = ()
        while batch := self._scripts.run("sweep", self._job_ttl_ms, SWEEP_BATCH)[1]:
            removed += tuple(map(str, batch))
        return removed

    def _job(self, job_id: str, fields: dict[str, str], positions: dict[str, int]) -> Job:
        position = positions.get(job_id, 0) if fields["status"] == JobStatus.QUEUED else None
        return job_of(job_id, fields, position, self.settings)

    def list(self, limit: int = 50, after: str | None = None, status: JobStatus | None = None) -> JobPage:
        """At most ``limit`` jobs, newest first, older than the cursor ``after`` (a page's ``next``).

        Raises InvalidRequest if ``after`` is not a cursor.
        """
        found = self._older(limit + 1, after, status)
        ids = [job_id for _, job_id in found[:limit]]
        positions = self._positions()
        items = [
            self._job(job_id, fields, positions)
            for job_id, fields in zip(ids, self._fields(ids), strict=True)
            if fields
        ]
        more = len(found) > limit
        return JobPage(items=items, next=cursor(*found[limit - 1]) if more else None)
