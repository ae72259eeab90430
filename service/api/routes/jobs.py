"""Jobs: list, show, pause, resume, cancel, delete."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response

from service.api.conditional import json_response
from service.api.examples import CANCELLING_JOB, JOB_PAGE, PAUSED_JOB, QUEUED_JOB, SUCCEEDED_JOB
from service.api.openapi import answer, bare, problems
from service.api.services import Use
from service.errors import Expired, InvalidRequest, JobNotFinished, JobNotFound
from service.schemas.job import Job, JobPage, JobStatus

router = APIRouter(tags=["jobs"])

POLL_SECONDS = {JobStatus.QUEUED: 2, JobStatus.PAUSED: 10}
NO_JOB = (JobNotFound, "There is no job '01k9zq3v7m4t'. It may have expired; GET /jobs lists those that are kept.")
GONE_JOB = (Expired, "Job '01k9zq3v7m4t' ended more than 604800 s ago and was removed. Submit it again.")


def retry_after(job: Job) -> dict[str, str]:
    """The header that says when to poll ``job`` again, until it has ended."""
    return {} if job.is_terminal else {"Retry-After": str(POLL_SECONDS.get(job.status, 1))}


@router.get(
    "/jobs",
    response_model=JobPage,
    summary="List jobs, newest first",
    responses=answer(200, "A page of jobs.", JOB_PAGE, ETag="Changes with any of its jobs.")
    | bare(304, "The page is as If-None-Match says.")
    | problems(InvalidRequest("limit must be at most 200, not 1000.", param="limit")),
)
def list_jobs(
    request: Request,
    use: Use,
    limit: Annotated[int, Query(ge=1, le=200, description="Jobs in a page.")] = 50,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
    status: Annotated[JobStatus | None, Query(description="Only jobs of this status.")] = None,
) -> Response:
    """All jobs, including those that have ended, until they expire."""
    page = use.jobs.list(limit=limit, after=after, status=status)
    return json_response(request, page.model_dump_json())


@router.get(
    "/jobs/{job_id}",
    response_model=Job,
    summary="Look at a job",
    responses=answer(
        200,
        "The job.",
        SUCCEEDED_JOB,
        ETag="Changes with the job.",
        Retry_After="Seconds to wait before the next poll; absent once the job has ended.",
    )
    | bare(304, "The job is as If-None-Match says.")
    | problems(NO_JOB, GONE_JOB),
)
def get_job(job_id: str, request: Request, use: Use) -> Response:
    """The job as it is now. With `If-None-Match`, 304 and no body until it changes: cheap to poll."""
    job = use.jobs.get(job_id)
    return json_response(request, job.model_dump_json(), retry_after(job))


@router.post(
    "/jobs/{job_id}/cancel",
    response_model=Job,
    status_code=202,
    summary="Cancel a job",
    responses=answer(202, "The job; it may still be `cancelling`.", CANCELLING_JOB) | problems(NO_JOB, GONE_JOB),
)
def cancel_job(job_id: str, use: Use) -> Job:
    """A waiting job is cancelled at once; a running one stops within seconds and keeps its best soup so far.

    Cancelling a job that is cancelled or has ended changes nothing.
    """
    return use.jobs.cancel(job_id)


@router.post(
    "/jobs/{job_id}/pause",
    response_model=Job,
    status_code=202,
    summary="Pause a job",
    responses=answer(202, "The job.", PAUSED_JOB) | problems(NO_JOB, GONE_JOB),
)
def pause_job(job_id: str, use: Use) -> Job:
    """The job is put aside with all that it has found. If it runs, its worker is free for other jobs within seconds.

    It stays paused until it is resumed or cancelled. Pausing a job that is paused, is being cancelled or has ended
    changes nothing.
    """
    return use.jobs.pause(job_id)


@router.post(
    "/jobs/{job_id}/resume",
    response_model=Job,
    status_code=202,
    summary="Resume a paused job",
    responses=answer(202, "The job, which waits again.", QUEUED_JOB) | problems(NO_JOB, GONE_JOB),
)
def resume_job(job_id: str, use: Use) -> Job:
    """The job waits at the end of the queue, and then evaluates only what is missing.

    Resuming a job that is not paused changes nothing.
    """
    return use.jobs.resume(job_id)


@router.delete(
    "/jobs/{job_id}",
    status_code=204,
    summary="Delete a job that has ended",
    responses=bare(204, "Deleted, with its points, events and model.")
    | problems(NO_JOB, GONE_JOB, (JobNotFinished, "Job '01k9zq3v7m4t' is running. Cancel it, then delete it.")),
)
def delete_job(job_id: str, use: Use) -> None:
    """Remove the job, its points and events; its model goes too, unless another job has made the same one."""
    use.jobs.delete(job_id)
