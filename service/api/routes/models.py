"""The merged model of a job."""

from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.background import BackgroundTask
from starlette.concurrency import run_in_threadpool
from starlette.responses import FileResponse, StreamingResponse

from service.api.conditional import not_modified, quote_tag
from service.api.openapi import Responses, bare, problems, raw_answer
from service.api.problems import ADVICE
from service.api.routes.jobs import NO_JOB
from service.api.services import Services, Use
from service.api.timm_archive import chunks, timm_archive
from service.artifacts.store import Artifact
from service.errors import (
    Expired,
    InvalidRequest,
    ModelNotReady,
    NotFound,
    QuotaExceeded,
    RangeNotSatisfiable,
    Unavailable,
)
from service.pantries.ingredients import CONFIG_FILE, WEIGHTS_FILE
from service.schemas.job import Job
from service.schemas.result import MergedModel

router = APIRouter(tags=["jobs"])

Format = Annotated[
    Literal["safetensors", "timm"],
    Query(alias="format", description="The file alone, or a zip of the folder that timm loads."),
]

PointName = Annotated[
    str | None,
    Query(
        alias="point",
        pattern=r"^(best|[0-9]{1,15})$",
        description="Index of any point of the job, to download instead of the result's soup, also while the job runs; "
        "or best, for the best soup so far.",
    ),
]

FILES: Responses = {
    200: {
        "description": "The file, or a zip of `config.json` and `model.safetensors`.",
        "content": raw_answer(200, "", "application/octet-stream")[200]["content"]
        | raw_answer(200, "", "application/zip")[200]["content"],
    }
}

RESPONSES = (
    FILES
    | bare(206, "The ranges asked for.")
    | bare(304, "The file is the one that If-None-Match names.")
    | problems(
        NO_JOB,
        (
            ModelNotReady,
            "Job '01k9zq3v7m4t' is running and has no model yet. Wait until is_terminal is true, or ask "
            "for the best soup so far: point=best.",
        ),
        (Expired, "The model of job '01k9zq3v7m4t' has expired. Run the job again: the same request makes it again."),
        RangeNotSatisfiable(ADVICE[416]),
        NotFound("job 01k9zq3v7m4t has no point 480", param="point", code="point_not_found"),
        InvalidRequest("The logits of soup 7 are not finite. Choose another.", param="point"),
        QuotaExceeded("64 more soups of job '01k9zq3v7m4t' are kept, the most there may be."),
        Unavailable("no worker has merged the soup within 120 s: start `soupsearch worker`", code="no_worker"),
        Unavailable("8 downloads wait for their soups to be merged already: ask again", code="busy"),
    )
)


def find_model(use: Services, job: Job) -> tuple[MergedModel, Artifact]:
    """The model of ``job`` and its files.

    Raises:
        ModelNotReady: the job has not made one, or never will.
        Expired: it was removed after its time.
    """
    if job.result is None:
        raise _not_ready(job)
    try:
        return job.result.model, use.artifacts.open("models", job.result.model.sha256)
    except NotFound as error:
        raise Expired(
            f"The model of job {job.id!r} has expired. Run the job again: the same request makes the same model."
        ) from error


def _not_ready(job: Job) -> ModelNotReady:
    if job.is_terminal:
        return ModelNotReady(f"Job {job.id!r} ended as {job.status} without a model. Its error says why.")
    advice = "Wait until is_terminal is true" + (", or ask for the best soup so far: point=best." if job.best else ".")
    return ModelNotReady(f"Job {job.id!r} is {job.status} and has no model yet. {advice}")


def find_point(use: Services, job: Job, point: str) -> int | None:
    """The index of one of the soups that ``job`` has tried, which can be merged; None if it is the result's own.

    Raises:
        ModelNotReady: the job has ended without a model, or there is no best soup yet.
        NotFound: there is no such point (``point_not_found``).
        InvalidRequest: the soup has no score, because its logits are not finite or it was dropped early.
    """
    if job.result is None and (job.is_terminal or (point == "best" and job.best is None)):
        raise _not_ready(job)
    if job.result is not None and point == "best":
        return None
    found = use.jobs.best_point(job.id) if point == "best" else use.jobs.point(job.id, int(point))
    if found is None:
        raise _not_ready(job)
    if found.score is None:
        why = "was dropped before it had seen all images" if found.pruned else "has logits that are not finite"
        raise InvalidRequest(f"Soup {found.index} {why}. Choose another.", param="point")
    is_winner = job.result is not None and list(job.result.weights.values()) == found.weights
    return None if is_winner else found.index


def merge_soup(use: Services, job: Job, index: int) -> tuple[MergedModel, Artifact]:
    """Let a worker merge a soup that ``job`` has tried, and wait for it.

    Raises:
        QuotaExceeded: the job already keeps the maximum number of merged soups.
        Expired: the pantry is gone.
        Unavailable: no worker merges it now (``no_worker``, ``merge_timeout``, ``merge_failed``).
    """
    if not use.supervisors.live():
        raise Unavailable("No worker runs that could merge the soup. Start `soupsearch worker`.", code="no_worker")
    _check_room(use, job)
    use.merge(job.id, index)
    found = _merged(use, job, index)
    if found is None:
        raise Unavailable("The soup was merged and removed again. Ask again.", code="merge_failed")
    return found


def _check_room(use: Services, job: Job) -> None:
    limit = use.settings.max_kept_soups
    if use.jobs.count_kept_models(job.id) >= limit:
        raise QuotaExceeded(
            f"{limit} more soups of job {job.id!r} are kept, the most there may be. Download one of those, or run the "
            "job again."
        )


def _merged(use: Services, job: Job, index: int) -> tuple[MergedModel, Artifact] | None:
    model = use.jobs.merged_model(job.id, index)
    try:
        return None if model is None else (model, use.artifacts.open("models", model.sha256))
    except NotFound:
        return None


def _send_file(request: Request, model: MergedModel, artifact: Artifact, stem: str) -> Response:
    tag = quote_tag(model.sha256)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if not_modified(request, tag):
        return Response(status_code=304, headers=headers)
    return FileResponse(
        artifact.path / WEIGHTS_FILE,
        headers=headers,
        media_type="application/octet-stream",
        filename=f"{stem}.safetensors",
        background=BackgroundTask(artifact.close),
    )


def _send_archive(request: Request, model: MergedModel, artifact: Artifact, stem: str) -> Response:
    tag = quote_tag(f"{model.sha256}-timm")
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "none",
        "Content-Disposition": f'attachment; filename="{stem}-timm.zip"',
    }
    if not_modified(request, tag):
        return Response(status_code=304, headers=headers)
    archive = timm_archive(artifact.path / WEIGHTS_FILE, artifact.path / CONFIG_FILE)
    headers["Content-Length"] = str(len(archive))
    if request.method == "HEAD":
        return Response(media_type="application/zip", headers=headers)
    return StreamingResponse(
        chunks(archive), media_type="application/zip", headers=headers, background=BackgroundTask(artifact.close)
    )


async def send_model(
    job_id: str, request: Request, use: Use, form: Format = "safetensors", point: PointName = None
) -> Response:
    """The merged checkpoint. Its ETag is its sha256; use ranges to resume an interrupted download.

    With `point`, any other soup that the job has tried, such as one of the front, or the `best` so far of a job that
    has not ended. A worker merges it on the first request, which takes some seconds, and it is kept as long as the job.
    """
    job = await run_in_threadpool(use.jobs.get, job_id)
    index = None if point is None else await run_in_threadpool(find_point, use, job, point)
    if index is None:
        model, artifact = await run_in_threadpool(find_model, use, job)
    elif found := await run_in_threadpool(_merged, use, job, index):
        model, artifact = found
    else:
        model, artifact = await use.merges.run(merge_soup, use, job, index)
    number = index if point in {None, "best"} else point
    stem = f"soup-{job.request.request.pantry}-{job_id}" + ("" if number is None else f"-{number}")
    if form == "timm":
        return await run_in_threadpool(_send_archive, request, model, artifact, stem)
    return _send_file(request, model, artifact, stem)


router.get("/jobs/{job_id}/model", summary="Download the model", responses=RESPONSES, response_class=Response)(
    send_model
)
router.head(
    "/jobs/{job_id}/model", summary="Size and sha256 of the model", responses=RESPONSES, response_class=Response
)(send_model)
