"""Request bodies: JSON documents, or forms whose file goes to the artifact store's staging folder."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from service.api.multipart import FIELD_LIMIT, ReceivedFile, read_form
from service.api.problems import invalid
from service.api.services import Services
from service.errors import MalformedBody, UnsupportedMediaType

REQUEST_PART = "request"

Document = TypeVar("Document", bound=BaseModel)


@dataclass(frozen=True)
class Upload:
    """A form: the bytes of its part ``request``, when there, and its file, when there."""

    request: bytes | None
    file: ReceivedFile | None


def media_type(request: Request) -> str:
    """The body's media type, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse(model: type[Document], content: bytes, part: str | None = None) -> Document:
    """``content`` as a document, which came as ``part`` of a form, or as the whole body.

    Raises:
        MalformedBody: it is not JSON.
        InvalidRequest: a field is at fault, which ``param`` names.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise invalid(error, part) from error


def refuse_media_type(request: Request, *known: str) -> UnsupportedMediaType:
    """The error for a body of another type than ``known``."""
    given = media_type(request) or "no type"
    return UnsupportedMediaType(f"The body is of {given}. Send it as {' or '.join(known)}.", param="Content-Type")


@asynccontextmanager
async def receive_upload(request: Request, use: Services, part: str, limit: int) -> AsyncIterator[Upload]:
    """Stream a form with a file ``part`` of at most ``limit`` bytes to disk; it is gone when the block ends.

    Raises:
        UnsupportedMediaType: the body is no form.
        TooLarge, MalformedBody: by the form.
        StorageFull: the disk is full, would be by the length announced, or fills up meanwhile.
    """
    if media_type(request) != "multipart/form-data":
        raise refuse_media_type(request, "multipart/form-data")
    with use.artifacts.staging() as folder:
        form = await read_form(request, folder, {REQUEST_PART: FIELD_LIMIT}, {part: limit}, use.artifacts.reserve)
        upload = Upload(form.fields.get(REQUEST_PART), form.files.get(part))
        if upload.file is not None:
            use.metrics.uploaded.inc(upload.file.size)
        yield upload


def missing_part(part: str) -> MalformedBody:
    """The error for a form without ``part``."""
    return MalformedBody(f"Part {part!r} is missing. Send it.", param=part)
