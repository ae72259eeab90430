"""Counts of jobs, references to artifacts, places in the queue and pages of jobs."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import islice
from typing import Any

from service.artifacts.store import KINDS, Kind
from service.errors import InUse, InvalidRequest
from service.jobs.records import Records
from service.schemas.job import JobStatus

ACTIVE = tuple(status for status in JobStatus if not status.is_terminal)
DELETION_MS = 60_000
"""Longest time to delete an artifact; a deletion that dies blocks new jobs on the artifact for this long."""


def cursor(created_ms: int, job_id: str) -> str:
    """The cursor of a page that ends with this job."""
    return f"{created_ms}-{job_id}"


class JobCatalogue(Records):
    """Reads over many jobs."""

    def in_use(self) -> dict[Kind, set[str]]:
        """Digests of the artifacts that jobs refer to, which the artifact store's sweep must keep."""
        return {kind: {str(digest) for digest in self.redis.hkeys(self.keys.references(kind))} for kind in KINDS}

    @contextmanager
    def deletion(self, kind: Kind, digest: str) -> Iterator[None]:
        """Remove a set or pantry in the block: meanwhile no job can refer to it, even one that looked it up before.

        Raises InUse if a job that has not ended refers to it.
        """
        if self._scripts.run("deletion", kind, digest, DELETION_MS, *ACTIVE)[0] == "in_use":
            noun = "adaptation set" if kind == "sets" else "pantry"
            raise InUse(f"a job that has not ended needs this {noun}: cancel the job or wait for its end")
        try:
            yield
        finally:
            self._scripts.run("deletion", kind, digest, 0)

    def now(self) -> int:
        """The time of Redis in ms since the epoch."""
        seconds, microseconds = self.redis.time()
        return int(1000 * seconds + microseconds // 1000)

    def counts(self) -> dict[JobStatus, int]:
        """Number of jobs in each status."""
        with self.redis.pipeline() as pipeline:
            for status in JobStatus:
                pipeline.zcard(self.keys.status(status))
            return dict(zip(JobStatus, pipeline.execute(), strict=True))

    def queue_depth(self) -> int:
        """Number of jobs that wait for a supervisor."""
        return int(self.redis.xlen(self.keys.queue))

    def _fields(self, job_ids: list[str]) -> list[dict[str, str]]:
        with self.redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hgetall(self.keys.job(job_id))
            return pipeline.execute()

    def _positions(self) -> dict[str, int]:
        """Place in the queue of each waiting job, 0 first."""
        with self.redis.pipeline() as pipeline:
            pipeline.lrange(self.keys.returned, 0, -1)
            pipeline.xrange(self.keys.queue)
            returned, entries = pipeline.execute()
        order = dict.fromkeys([*returned, *(entry["job"] for _, entry in entries)])
        return {job_id: position for position, job_id in enumerate(order)}

    def _older(self, count: int, after: str | None, status: JobStatus | None) -> list[tuple[int, str]]:
        """At most ``count`` pairs (creation in ms, id) before the cursor, newest first."""
        key = self.keys.jobs if status is None else self.keys.status(status)
        newest, last = _parse_cursor(after)
        found: list[tuple[int, str]] = []
        offset = 0
        while len(found) < count:
            batch: Any = self.redis.zrevrangebyscore(key, newest, "-inf", start=offset, num=count, withscores=True)
            offset += len(batch)
            pairs = ((int(float(score)), str(job_id)) for job_id, score in batch)
            found += islice((pair for pair in pairs if last is None or pair < last), count - len(found))
            if len(batch) < count:
                break
        return found


def _parse_cursor(after: str | None) -> tuple[str, tuple[int, str] | None]:
    """The latest creation time to look at, and the pair to continue below."""
    if after is None:
        return "+inf", None
    created, _, job_id = after.partition("-")
    if not created.isdecimal() or not job_id:
        msg = f"{after!r} is not the `next` of a page of jobs"
        raise InvalidRequest(msg, param="after")
    return created, (int(created), job_id)
