"""A job's events, as they happen."""

import json
import re
from collections.abc import AsyncGenerator
from typing import Any

from service.connection import connect_async
from service.errors import Expired, InvalidRequest, JobNotFound
from service.jobs.documents import progress_of
from service.jobs.keys import Keys
from service.schemas.job import Event, JobStatus
from service.settings import Settings

BATCH = 200
BLOCK_MS = 10_000
MAX_WATCHERS = 400
"""Each takes two file descriptors, to its caller and to Redis, and a process may often open only 1024."""

_EVENT_ID = re.compile(r"\d{1,19}(-\d{1,19})?")


class JobEvents:
    """Events of jobs for up to ``MAX_WATCHERS`` in one event loop; callers count them. Each has its own connection.

    The scripts append each event in the same step as the change it reports, so none is missed. About 20,000 per job
    are kept; a watcher that comes back later finds the points in ``JobStore.points``.

    ===========  =====================================================
    type         data
    ===========  =====================================================
    ``status``   ``{"status": ..., "attempt": ...}``
    ``progress`` a Progress document
    ``point``    a Point document
    ``best``     a Best document
    ``warning``  a JobWarning document
    ``end``      like ``status``; the last one
    ===========  =====================================================
    """

    def __init__(self, settings: Settings) -> None:
        # Twice as many, because a connection is returned a little after its watcher has gone.
        self._redis = connect_async(settings, 2 * MAX_WATCHERS)
        self._keys = Keys(settings.redis_prefix)

    async def aclose(self) -> None:
        """Close all connections."""
        await self._redis.aclose()

    async def follow(self, job_id: str, last_event_id: str | None = None) -> AsyncGenerator[Event, None]:
        """All events after ``last_event_id`` (from the first when None), then new ones until the job has ended.

        Ends after ``end``, or if the job is deleted. Raises JobNotFound, Expired, and InvalidRequest if no event can
        have this id.
        """
        last = last_event_id or "0"
        if _EVENT_ID.fullmatch(last) is None:
            msg = f"{last!r} is not the id of an event: send the id of the last event received, or none"
            raise InvalidRequest(msg, param="Last-Event-ID")
        if await self._status(job_id) is None:
            await self._raise_missing(job_id)
        block = None
        while True:
            ended = await self._has_ended(job_id)
            events = await self._read(job_id, last, None if ended else block)
            for event in events:
                last = event.id
                yield event
                if event.type == "end":
                    return
            if ended and not events:
                return
            block = BLOCK_MS

    async def _read(self, job_id: str, last: str, block: int | None) -> list[Event]:
        answer: Any = await self._redis.xread({self._keys.events(job_id): last}, count=BATCH, block=block)
        return [_event(event_id, fields) for _, entries in answer or [] for event_id, fields in entries]

    async def _status(self, job_id: str) -> str | None:
        status = await self._redis.hget(self._keys.job(job_id), "status")
        return None if status is None else str(status)

    async def _has_ended(self, job_id: str) -> bool:
        status = await self._status(job_id)
        return status is None or JobStatus(status).is_terminal

    async def _raise_missing(self, job_id: str) -> None:
        if await self._redis.exists(self._keys.expired(job_id)):
            msg = f"job {job_id} has expired and was removed"
            raise Expired(msg)
        msg = f"there is no job {job_id}: GET /jobs lists all"
        raise JobNotFound(msg)


def _event(event_id: str, fields: dict[str, str]) -> Event:
    data = json.loads(fields["data"])
    if fields["type"] == "progress":
        data = progress_of(data).model_dump(mode="json")
    return Event.model_validate({"id": event_id, "type": fields["type"], "data": data})
