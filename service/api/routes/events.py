"""The events of a job as a stream."""

from typing import Annotated

from fastapi import APIRouter, Header, Response
from starlette.concurrency import run_in_threadpool

from service.api.examples import EVENTS
from service.api.openapi import problems, raw_answer
from service.api.routes.jobs import GONE_JOB, NO_JOB
from service.api.services import Use
from service.api.streams import EventStream
from service.errors import InvalidRequest, Unavailable

router = APIRouter(tags=["jobs"])


@router.get(
    "/jobs/{job_id}/events",
    response_class=Response,
    summary="Watch a job",
    responses=raw_answer(200, "Server-sent events.", "text/event-stream", EVENTS)
    | problems(
        NO_JOB,
        GONE_JOB,
        InvalidRequest("Last-Event-ID: String should match pattern '^[0-9]+-[0-9]+$'.", param="last-event-id"),
        Unavailable("400 streams of events are open already: close one, or poll GET /jobs/{job_id}", code="busy"),
    ),
)
async def get_events(
    job_id: str,
    use: Use,
    last_event_id: Annotated[str | None, Header(pattern=r"^[0-9]{1,19}(-[0-9]{1,19})?$")] = None,
) -> Response:
    """Server-sent events `status`, `progress`, `point`, `best`, `warning`, and `end`, after which the stream ends.

    Starts with the first event that is kept, or after `Last-Event-ID`. A comment every 15 seconds keeps idle
    connections open.
    """
    await run_in_threadpool(use.jobs.get, job_id)
    return EventStream(use.events.follow(job_id, last_event_id), use.stopping, use.watchers)
