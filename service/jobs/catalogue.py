"""What there is: counts, who needs what, places in the queue and pages of jobs."""

from itertools import islice
from typing import Any

from service.errors import InvalidRequest
from service.jobs.records import Records
from service.schemas.job import JobStatus

ACTIVE = tuple(status for status in JobStatus if not status.is_terminal)


def cursor(created_ms: int, job_id: str) -> str:
    """The cursor of a page that ends with this job."""
    return f"{created_ms}-{job_id}"


class JobCatalogue(Records):
    """Reads over many jobs."""

    def models_in_use(self) -> set[str]:
        """Digests of the merged models that a job names: what the artifact store's sweep must keep."""
        return {str(digest) for digest in self.redis.hkeys(self.keys.models)}

    def pantry_in_use(self, name: str) -> bool:
        """Whether a job that has not ended needs the pantry."""
        return any(fields["pantry"] == name for fields in self._active())

    def set_in_use(self, set_id: str) -> bool:
        """Whether a job that has not ended needs the adaptation set."""
        return any(set_id in fields["sets"].split(",") for fields in self._active())

    def counts(self) -> dict[JobStatus, int]:
        """How many jobs there are in each status."""
        with self.redis.pipeline() as pipeline:
            for status in JobStatus:
                pipeline.zcard(self.keys.status(status))
            return dict(zip(JobStatus, pipeline.execute(), strict=True))

    def queue_depth(self) -> int:
        """How many jobs wait for a supervisor."""
        return int(self.redis.xlen(self.keys.queue))

    def _fields(self, job_ids: list[str]) -> list[dict[str, str]]:
        with self.redis.pipeline(transaction=False) as pipeline:
            for job_id in job_ids:
                pipeline.hgetall(self.keys.job(job_id))
            return pipeline.execute()

    def _active(self) -> list[dict[str, str]]:
        with self.redis.pipeline() as pipeline:
            for status in ACTIVE:
                pipeline.zrange(self.keys.status(status), 0, -1)
            ids = [job_id for batch in pipeline.execute() for job_id in batch]
        return [fields for fields in self._fields(ids) if fields]

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
    """Greatest creation to look at and the pair to continue below."""
    if after is None:
        return "+inf", None
    created, _, job_id = after.partition("-")
    if not created.isdecimal() or not job_id:
        msg = f"{after!r} is not the `next` of a page of jobs"
        raise InvalidRequest(msg, param="after")
    return created, (int(created), job_id)
