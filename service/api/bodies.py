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
    """A form: the bytes of its part ``request`` and its file, each if present."""

    request: bytes | None
    file: ReceivedFile | None


def media_type(request: Request) -> str:
    """The body's media type, without parameters."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def parse(model: type[Document], content: bytes, part: str | None = None) -> Document:
    """Parse ``content``, which is ``part`` of a form or the whole body, as a document.

    Raises:
        MalformedBody: it is not JSON.
        InvalidRequest: a field is at fault; ``param`` names it.
    """
    try:
        return model.model_validate_json(content)
    except ValidationError as error:
        raise invalid(error, part) from error


def refuse_media_type(request: Request, *known: str) -> UnsupportedMediaType:
    """The error for a body whose type is not ``known``."""
    given = media_type(request) or "no type"
    return UnsupportedMediaType(f"The body is of {given}. Send it as {' or '.join(known)}.", param="Content-Type")


@asynccontextmanager
async def receive_upload(request: Request, use: Services, part: str, limit: int) -> AsyncIterator[Upload]:
    """Stream a form with a file ``part`` of at most ``limit`` bytes to disk; it is removed when the block ends.

    Raises:
        UnsupportedMediaType: the body is not a form.
        TooLarge, MalformedBody: the form is too large or malformed.
        StorageFull: the disk is full, would be with the announced length, or fills up meanwhile.
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
