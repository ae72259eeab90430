"""The merged model of a job."""

from pathlib import Path
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from starlette.responses import FileResponse, StreamingResponse

from service.api.conditional import not_modified, quote_tag
from service.api.openapi import Responses, bare, problems, raw_answer
from service.api.problems import ADVICE
from service.api.routes.jobs import NO_JOB
from service.api.services import Services, Use
from service.api.timm_archive import chunks, timm_archive
from service.errors import Expired, ModelNotReady, RangeNotSatisfiable
from service.schemas.job import Job
from service.schemas.result import MergedModel

router = APIRouter(tags=["jobs"])

Format = Annotated[
    Literal["safetensors", "timm"],
    Query(alias="format", description="The file alone, or a zip of the folder that timm loads."),
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
        (ModelNotReady, "Job '01k9zq3v7m4t' is running and has no model yet. Wait until is_terminal is true."),
        (Expired, "The model of job '01k9zq3v7m4t' has expired. Run the job again: the same request makes it again."),
        RangeNotSatisfiable(ADVICE[416]),
    )
)


def find_model(use: Services, job: Job) -> tuple[MergedModel, Path]:
    """The model of ``job`` and its file.

    Raises:
        ModelNotReady: the job has not made one, or never will.
        Expired: it was removed after its time.
    """
    if job.result is None:
        ended = f"ended as {job.status} without a model" if job.is_terminal else f"is {job.status} and has no model yet"
        advice = "Its error says why." if job.is_terminal else "Wait until is_terminal is true."
        raise ModelNotReady(f"Job {job.id!r} {ended}. {advice}")
    path = use.artifacts.model(job.result.model.sha256)
    if not path.is_file():
        raise Expired(
            f"The model of job {job.id!r} has expired. Run the job again: the same request makes the same model."
        )
    return job.result.model, path


def _send_file(request: Request, model: MergedModel, path: Path, stem: str) -> Response:
    tag = quote_tag(model.sha256)
    headers = {"ETag": tag, "Cache-Control": "private, no-cache"}
    if not_modified(request, tag):
        return Response(status_code=304, headers=headers)
    return FileResponse(path, headers=headers, media_type="application/octet-stream", filename=f"{stem}.safetensors")


def _send_archive(request: Request, model: MergedModel, path: Path, config: Path, stem: str) -> Response:
    tag = quote_tag(f"{model.sha256}-timm")
    headers = {
        "ETag": tag,
        "Cache-Control": "private, no-cache",
        "Accept-Ranges": "none",
        "Content-Disposition": f'attachment; filename="{stem}-timm.zip"',
    }
    if not_modified(request, tag):
        return Response(status_code=304, headers=headers)
    archive = timm_archive(path, config)
    headers["Content-Length"] = str(len(archive))
    if request.method == "HEAD":
        return Response(media_type="application/zip", headers=headers)
    return StreamingResponse(chunks(archive), media_type="application/zip", headers=headers)


def send_model(job_id: str, request: Request, use: Use, form: Format = "safetensors") -> Response:
    """The merged checkpoint. Its ETag is its sha256; ranges resume a download that broke off."""
    job = use.jobs.get(job_id)
    model, path = find_model(use, job)
    stem = f"soup-{job.request.request.pantry}-{job_id}"
    if form == "timm":
        return _send_archive(request, model, path, use.artifacts.model_config(model.sha256), stem)
    return _send_file(request, model, path, stem)


router.get("/jobs/{job_id}/model", summary="Download the model", responses=RESPONSES, response_class=Response)(
    send_model
)
router.head(
    "/jobs/{job_id}/model", summary="Size and sha256 of the model", responses=RESPONSES, response_class=Response
)(send_model)
