"""Pantries: users list and show them, operators add and remove them."""

from fastapi import APIRouter, Request, Response

from service.api.bodies import REQUEST_PART, missing_part, parse, receive_upload
from service.api.examples import PANTRY, PANTRY_LIST, PANTRY_REQUEST
from service.api.openapi import answer, bare, form_body, problems, request_body
from service.api.services import Use
from service.errors import (
    InUse,
    InvalidPantry,
    MalformedBody,
    PantryExists,
    PantryNotFound,
    StorageFull,
    TooLarge,
    Unavailable,
    UnsupportedMediaType,
)
from service.schemas.pantry import Pantry, PantryList, PantryRequest

router = APIRouter(tags=["pantries"])

PART = "pantry"
NO_PANTRY = (PantryNotFound, "there is no pantry 'fasion': GET /pantries lists all")


@router.get(
    "/pantries", response_model=PantryList, summary="List pantries", responses=answer(200, "All of them.", PANTRY_LIST)
)
def list_pantries(use: Use) -> PantryList:
    """All pantries, by name."""
    return PantryList(items=list(use.pantries.list()))


@router.get(
    "/pantries/{name}",
    response_model=Pantry,
    summary="Look at a pantry",
    responses=answer(200, "The pantry.", PANTRY) | problems(NO_PANTRY),
)
def get_pantry(name: str, use: Use) -> Pantry:
    """Its ingredients, architecture, classes and digest."""
    return use.pantries.get(name)


@router.post(
    "/pantries",
    status_code=201,
    response_model=Pantry,
    summary="Add a pantry",
    openapi_extra=request_body(form=form_body(PantryRequest, PANTRY_REQUEST, PART, required=True)),
    responses=answer(201, "The pantry.", PANTRY, Location="Where the pantry is.")
    | problems(
        MalformedBody("Part 'pantry' is missing. Send it.", param=PART),
        PantryExists("a pantry named 'fashion' exists: take another name, or remove it first", param="name"),
        TooLarge("Part 'pantry' is longer than 17179869184 bytes. Send less.", param=PART),
        UnsupportedMediaType("The body is of text/plain. Send it as multipart/form-data.", param="Content-Type"),
        InvalidPantry("l2: the shape of 'head.weight' differs from linf's", param=PART, code="shape_mismatch"),
        StorageFull("The disk of the artifact store is full. Free space or delete sets and jobs, then try again."),
        Unavailable("8 uploaded pantries wait for their check already: send yours again in a minute", code="busy"),
        Unavailable("no worker has checked the pantry within 120 s: start `soupsearch worker`", code="no_worker"),
    ),
)
async def add_pantry(request: Request, response: Response, use: Use) -> Pantry:
    """Upload an archive with one timm folder (`config.json`, `model.safetensors`) for each ingredient.

    A worker checks that timm can build the architecture before the pantry is stored.
    """
    use.checks.check()
    async with receive_upload(request, use, PART, use.settings.max_pantry_bytes) as upload:
        if upload.request is None:
            raise missing_part(REQUEST_PART)
        document = parse(PantryRequest, upload.request, REQUEST_PART)
        if upload.file is None:
            raise missing_part(PART)
        pantry = await use.checks.run(use.pantries.add_archive, document, upload.file.path, use.verify)
    response.headers["Location"] = pantry.url
    return pantry


@router.delete(
    "/pantries/{name}",
    status_code=204,
    summary="Remove a pantry",
    responses=bare(204, "Removed.")
    | problems(NO_PANTRY, (InUse, "a job that has not ended needs this pantry: cancel the job or wait for its end")),
)
def delete_pantry(name: str, use: Use) -> None:
    """Remove a pantry that no unfinished job needs; models made from it stay."""
    use.pantries.delete(name, use.jobs.deletion)
