"""``POST /suggest-labels``: a job that names the images to label next."""

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from service.api.admission import admit
from service.api.examples import QUEUED_JOB, STORED_SETS_SUGGEST_REQUEST, SUGGEST_REQUEST
from service.api.openapi import answer, form_body, json_body, problems, request_body
from service.api.routes.adapt import PART, REQUEST_PROBLEMS, UPLOAD_PROBLEMS, Key, accepted, received
from service.api.services import Use
from service.errors import InvalidRequest
from service.schemas.job import Job
from service.schemas.request import SuggestLabelsRequest

router = APIRouter(tags=["jobs"])

NOTHING_TO_LABEL = InvalidRequest(
    "Every image has a label already. Send images without one, in the folder unlabelled/, or labelled -1 in an npz.",
    param="adaptation_set",
    code="unlabelled_needed",
)


@router.post(
    "/suggest-labels",
    status_code=202,
    response_model=Job,
    summary="Find the images to label next",
    openapi_extra=request_body(
        form=form_body(SuggestLabelsRequest, SUGGEST_REQUEST, PART, required=True),
        json=json_body(SuggestLabelsRequest, STORED_SETS_SUGGEST_REQUEST),
    ),
    responses=answer(
        202,
        "The job, which is queued. Its result has the images in `label_next`.",
        QUEUED_JOB,
        Location="Where the job is.",
        Retry_After="Seconds to wait before the next poll.",
    )
    | problems(NOTHING_TO_LABEL, *REQUEST_PROBLEMS, *UPLOAD_PROBLEMS),
)
async def suggest_labels(request: Request, response: Response, use: Use, idempotency_key: Key = None) -> Job:
    """Starts a job like `POST /adapt`, of a set in which some images, or all, have no label."""
    async with received(request, use, SuggestLabelsRequest) as (document, file):
        job = await run_in_threadpool(admit, use, document.job(), file, idempotency_key, suggests_labels=True)
    return accepted(job, response)
