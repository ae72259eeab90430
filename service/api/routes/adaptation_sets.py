"""Adaptation sets: store once, use in many jobs."""

from typing import Annotated

from fastapi import APIRouter, Query, Request, Response
from starlette.concurrency import run_in_threadpool

from service.api.bodies import REQUEST_PART, missing_part, parse, receive_upload
from service.api.examples import ADAPTATION_SET, ADAPTATION_SET_PAGE, ADAPTATION_SET_REQUEST
from service.api.openapi import answer, bare, form_body, problems, request_body
from service.api.routes.adapt import PART, UPLOAD_PROBLEMS
from service.api.services import Use
from service.errors import InUse, InvalidRequest, SetNotFound
from service.schemas.adaptation_set import AdaptationSet, AdaptationSetPage, AdaptationSetRequest

router = APIRouter(tags=["adaptation sets"])

NO_SET = (SetNotFound, "there is no adaptation set 'abc': it was never stored, or has been deleted")


@router.post(
    "/adaptation-sets",
    status_code=201,
    response_model=AdaptationSet,
    summary="Store an adaptation set",
    openapi_extra=request_body(form=form_body(AdaptationSetRequest, ADAPTATION_SET_REQUEST, PART, required=False)),
    responses=answer(201, "The set.", ADAPTATION_SET, Location="Where the set is.") | problems(*UPLOAD_PROBLEMS),
)
async def add_set(request: Request, response: Response, use: Use) -> AdaptationSet:
    """Upload a zip, tar, tar.gz or npz as part `adaptation_set`; part `request` may bring a `label_map`.

    The id is the sha256 of the contents: the same images and classes are one set, however they are packed.
    """
    async with receive_upload(request, use, PART, use.settings.max_upload_bytes) as upload:
        document = parse(AdaptationSetRequest, upload.request or b"{}", REQUEST_PART)
        if upload.file is None:
            raise missing_part(PART)
        stored = await run_in_threadpool(use.sets.add, upload.file.path, document.label_map)
    response.headers["Location"] = stored.url
    return stored


@router.get(
    "/adaptation-sets",
    response_model=AdaptationSetPage,
    summary="List stored sets, newest first",
    responses=answer(200, "A page of sets.", ADAPTATION_SET_PAGE)
    | problems(InvalidRequest("after: there is no set 'abc'. Begin again without it.", param="after")),
)
def list_sets(
    use: Use,
    limit: Annotated[int, Query(ge=1, le=200, description="Sets in a page.")] = 50,
    after: Annotated[str | None, Query(max_length=64, description="`next` of the page before.")] = None,
) -> AdaptationSetPage:
    """Sets that were stored directly, and those uploaded with a job that is kept."""
    sets = list(use.sets.list())
    begin = 0
    if after is not None:
        places = [place for place, stored in enumerate(sets) if stored.id == after]
        if not places:
            raise InvalidRequest(f"after: there is no set {after!r}. Begin again without it.", param="after")
        begin = places[0] + 1
    items = sets[begin : begin + limit]
    return AdaptationSetPage(items=items, next=items[-1].id if begin + limit < len(sets) else None)


@router.get(
    "/adaptation-sets/{set_id}",
    response_model=AdaptationSet,
    summary="Look at a set",
    responses=answer(200, "The set.", ADAPTATION_SET) | problems(NO_SET),
)
def get_set(set_id: str, use: Use) -> AdaptationSet:
    """Its classes and number of images."""
    return use.sets.get(set_id)


@router.delete(
    "/adaptation-sets/{set_id}",
    status_code=204,
    summary="Delete a set",
    responses=bare(204, "Deleted.")
    | problems(
        NO_SET, (InUse, "a job that has not ended needs this adaptation set: cancel the job or wait for its end")
    ),
)
def delete_set(set_id: str, use: Use) -> None:
    """Remove a set that no unfinished job needs; ended jobs keep their results."""
    use.sets.delete(set_id, use.jobs.deletion)
