"""Turns a job's hash in Redis into the document that users see."""

import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime

from service.schemas.job import Best, Job, JobError, JobStatus, JobUrls, JobWarning, Progress, RequestEcho
from service.schemas.result import Result
from service.settings import Settings

Fields = Mapping[str, str]


def timestamp(milliseconds: str | float | None) -> datetime | None:
    """UTC time from milliseconds since the epoch."""
    return None if milliseconds is None else datetime.fromtimestamp(float(milliseconds) / 1000, UTC)


def progress_of(counters: Mapping[str, str | int | float]) -> Progress:
    """Progress with rate and estimated finish, as of the last recorded point.

    A search ends no later than its strategy's bound and its limit of seconds allow; it may end earlier. The rate counts
    only points evaluated since this attempt started; points from the journal cost nothing and would make the search
    look faster than it is.
    """
    count = {name: int(float(counters.get(name, 0))) for name in ("done", "pruned", "total", "images", "backward")}
    progress = Progress.model_validate(count)
    evaluated = float(counters.get("attempt_points", 0))
    last = float(counters.get("progress_at", 0))
    seconds = (last - float(counters.get("attempt_started_at", 0))) / 1000
    ends = float(counters.get("search_ends_at", 0)) or math.inf
    rate = None
    if evaluated > 0 and seconds > 0:
        rate = evaluated / seconds
        ends = min(ends, last + 1000 * max(progress.total - progress.done, 0) / rate)
    return progress.model_copy(update={"rate": rate, "estimated_finish": timestamp(None if math.isinf(ends) else ends)})


def job_urls(job_id: str, settings: Settings) -> JobUrls:
    """URLs of the parts of a job; relative without ``settings.public_url``."""
    base = f"{settings.public_url.rstrip('/')}/jobs/{job_id}"
    parts = {name: f"{base}/{name}" for name in ("events", "points", "model", "cancel", "pause", "resume", "view")}
    return JobUrls(self=base, **parts)


def _lines(fields: Fields, name: str) -> list[str]:
    return fields.get(name, "").splitlines()


def _error(fields: Fields) -> JobError | None:
    if "error" not in fields:
        return None
    document = json.loads(fields["error"])
    attempts = [json.loads(line) for line in _lines(fields, "failures")]
    return JobError.model_validate(document | {"attempts": attempts})


def job_of(job_id: str, fields: Fields, queue_position: int | None, settings: Settings) -> Job:
    """The job document from its hash."""
    status = JobStatus(fields["status"])
    progress = progress_of(fields)
    return Job(
        id=job_id,
        status=status,
        is_terminal=status.is_terminal,
        created_at=datetime.fromtimestamp(float(fields["created_at"]) / 1000, UTC),
        started_at=timestamp(fields.get("started_at")),
        finished_at=timestamp(fields.get("finished_at")),
        expires_at=timestamp(fields.get("expires_at")),
        queue_position=queue_position,
        attempt=int(fields["attempt"]),
        progress=progress if status is JobStatus.RUNNING else progress.model_copy(update={"estimated_finish": None}),
        best=Best.model_validate_json(fields["best"]) if "best" in fields else None,
        warnings=[JobWarning.model_validate_json(line) for line in _lines(fields, "warnings")],
        result=Result.model_validate_json(fields["result"]) if "result" in fields else None,
        error=_error(fields),
        request=RequestEcho.model_validate_json(fields["request"]),
        urls=job_urls(job_id, settings),
    )
