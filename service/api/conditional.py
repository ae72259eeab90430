"""Entity tags and conditional requests (RFC 9110, section 13)."""

import hashlib
import re

from starlette.requests import Request
from starlette.responses import Response

_TAG = re.compile(r'(?:W/)?("[^"]*")')


def quote_tag(value: str) -> str:
    """``value`` as a strong entity tag."""
    return f'"{value}"'


def tag_of(content: bytes) -> str:
    """The strong entity tag of ``content``."""
    return quote_tag(hashlib.sha256(content).hexdigest()[:32])


def not_modified(request: Request, tag: str) -> bool:
    """Whether If-None-Match says that the caller already has ``tag``."""
    header = request.headers.get("if-none-match", "")
    return header.strip() == "*" or tag in _TAG.findall(header)


def json_response(request: Request, content: str, headers: dict[str, str] | None = None) -> Response:
    """A JSON document with its entity tag, or 304 if the caller already has it."""
    body = content.encode()
    known = {"ETag": tag_of(body), "Cache-Control": "no-cache", **(headers or {})}
    if not_modified(request, known["ETag"]):
        return Response(status_code=304, headers=known)
    return Response(body, media_type="application/json", headers=known)
