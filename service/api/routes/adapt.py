"""``POST /adapt``: the request that becomes a job."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.api.admission import admit, estimate
from service.api.bodies import (
    REQUEST_PART,
    Document,
    media_type,
    missing_part,
    parse,
    receive_upload,
    refuse_media_type,
)
from service.api.examples import ESTIMATE, QUEUED_JOB, REQUEST, STORED_SETS_REQUEST
from service.api.multipart import read_limited
from service.api.openapi import answer, form_body, json_body, problems, request_body
from service.api.routes.jobs import retry_after
from service.api.services import Services, Use
from service.errors import (
    DeletedMeanwhile,
    IdempotencyConflict,
    InvalidRequest,
    InvalidSet,
    MalformedBody,
    PantryNotFound,
    QuotaExceeded,
    SetNotFound,
    StorageFull,
    TooLarge,
    UnsupportedMediaType,
)
from service.schemas.estimate import CostEstimate
from service.schemas.job import Job
from service.schemas.request import AdaptRequest

router = APIRouter(tags=["jobs"])

PART = "adaptation_set"

UPLOAD_PROBLEMS = (
    MalformedBody("The multipart body ends before its last boundary. Send it whole."),
    TooLarge("Part 'adaptation_set' is longer than 536870912 bytes. Send less.", param=PART),
    UnsupportedMediaType("The body is of text/plain. Send it as multipart/form-data.", param="Content-Type"),
    InvalidSet(
        "the file 'bag/7.png' is not an image: leave it out, or save it as PNG or JPEG", param=PART, code="not_an_image"
    ),
    StorageFull("The disk of the artifact store is full. Free space or delete sets and jobs, then try again."),
)

REQUEST_PROBLEMS = (
    InvalidRequest("search.step must be greater than 0, not -0.2.", param="search.step"),
    InvalidRequest(
        "The search has 1234567 points; the limit is 100000. Take a greater step, narrower bounds or convex weights.",
        param="search",
        code="too_many_points",
    ),
    InvalidRequest(
        "robust accuracy needs one right class per image, and this set has images with several: take accuracy, or "
        "a set with one label per image",
        param="objective",
        code="several_labels",
    ),
    PantryNotFound("there is no pantry 'fasion': GET /pantries lists all", param="pantry"),
    SetNotFound("there is no adaptation set 'abc': it was never stored, or has been deleted", param="adaptation_sets"),
    DeletedMeanwhile("the pantry was deleted while the request was checked: send it again"),
    IdempotencyConflict("this Idempotency-Key belongs to job 5f2c with another body", param="Idempotency-Key"),
    QuotaExceeded("1000 jobs wait already, of at most 1000: try again later"),
)

Key = Annotated[
    str | None,
    Header(
        min_length=1,
        max_length=255,
        description="Any text. The same key and request give the same job, however often they are sent.",
    ),
]

DryRun = Annotated[
    bool,
    Query(description="Only check the request and estimate its cost; the answer is 200, and nothing is kept."),
]


@router.post(
    "/adapt",
    status_code=202,
    response_model=Job,
    summary="Find the best soup for an adaptation set",
    openapi_extra=request_body(
        form=form_body(AdaptRequest, REQUEST, PART, required=True), json=json_body(AdaptRequest, STORED_SETS_REQUEST)
    ),
    responses={200: {"model": CostEstimate} | answer(200, "With `dry_run`: what the job would cost.", ESTIMATE)[200]}
    | answer(
        202,
        "The job, which is queued.",
        QUEUED_JOB,
        Location="Where the job is.",
        Retry_After="Seconds to wait before the next poll.",
    )
    | problems(*REQUEST_PROBLEMS, *UPLOAD_PROBLEMS),
)
async def adapt(
    request: Request, response: Response, use: Use, dry_run: DryRun = False, idempotency_key: Key = None
) -> Any:
    """Upload the images with the request as a form, or name stored sets in JSON. Only `pantry` is required."""
    async with received(request, use, AdaptRequest) as (document, file):
        if dry_run:
            found = await run_in_threadpool(estimate, use, document, file)
            return Response(found.model_dump_json(), media_type="application/json")
        job = await run_in_threadpool(admit, use, document, file, idempotency_key)
    return accepted(job, response)


@asynccontextmanager
async def received(
    request: Request, use: Services, model: type[Document]
) -> AsyncIterator[tuple[Document, Path | None]]:
    """The request of a job, as JSON or as a part of a form, and the file that came with it, until the block ends.

    Raises as ``receive_upload`` and ``parse`` do.
    """
    if media_type(request) == "application/json":
        yield parse(model, await read_limited(request)), None
        return
    if media_type(request) != "multipart/form-data":
        raise refuse_media_type(request, "multipart/form-data", "application/json")
    async with receive_upload(request, use, PART, use.settings.max_upload_bytes) as upload:
        if upload.request is None:
            raise missing_part(REQUEST_PART)
        yield parse(model, upload.request, REQUEST_PART), upload.file.path if upload.file else None


def accepted(job: Job, response: Response) -> Job:
    """The job, whose address and pace of polling go into the headers of ``response``."""
    response.headers["Location"] = job.urls.self
    response.headers.update(retry_after(job))
    return job
