"""Every error as an ``application/problem+json`` document (RFC 9457), the framework's own included."""

import errno
import logging
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from redis.exceptions import RedisError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect

from search.strategy import kinds
from service.errors import InvalidRequest, MalformedBody, SoupsearchError, StorageFull, Unavailable
from service.schemas.problem import Problem
from service.schemas.wording import place, sentence

PROBLEM_MEDIA_TYPE = "application/problem+json"
RETRY_SECONDS = 2
UNAVAILABLE = (
    "The job store does not answer. Try again in a moment. A change asked for may have been made all the same: repeat "
    "a request to adapt with the same Idempotency-Key."
)

CODES: Mapping[int, str] = {
    400: "malformed_request",
    404: "route_not_found",
    405: "method_not_allowed",
    413: "too_large",
    415: "unsupported_media_type",
    416: "range_not_satisfiable",
}

ADVICE: Mapping[int, str] = {
    400: "The request is malformed. Check its headers against the documentation at /docs.",
    404: "There is no such address. The calls of this service are listed at /docs.",
    405: "This address does not take that method. The Allow header lists those that it takes.",
    413: "The body is too large. Send fewer bytes.",
    415: "The body's Content-Type is not taken here. The documentation at /docs lists those that are.",
    416: "The Range lies outside the file. Content-Range gives the file's size.",
}

logger = logging.getLogger(__name__)


class ProblemResponse(Response):
    """A problem document with its status."""

    media_type = PROBLEM_MEDIA_TYPE

    def __init__(self, problem: Problem, headers: Mapping[str, str] | None = None) -> None:
        content = problem.model_dump_json(exclude_none=True)
        super().__init__(content, problem.status, {"Cache-Control": "no-store", **(headers or {})})


def make_problem(status: int, code: str, detail: str, *, title: str = "", **more: Any) -> Problem:
    """A problem of ``code``; ``more`` holds ``param`` and extension members."""
    return Problem(
        type=f"urn:soupsearch:problem:{code}",
        title=title or HTTPStatus(status).phrase,
        status=status,
        code=code,
        detail=detail,
        **more,
    )


def problem_of_status(status: int) -> Problem:
    """The problem for one of the framework's own answers, of which only the status is known."""
    detail = ADVICE.get(status, f"{HTTPStatus(status).phrase}. See the documentation at /docs.")
    return make_problem(status, CODES.get(status, f"http_{status}"), detail)


def problem_of(error: SoupsearchError) -> Problem:
    """The problem document for ``error``."""
    more = {"param": error.param} if error.param else {}
    return make_problem(error.status, error.code, error.detail, title=error.title, **more)


def respond(request: Request, error: SoupsearchError) -> ProblemResponse:
    """The answer for ``error``; for a temporary error it says when to try again."""
    problem = problem_of(error).model_copy(update={"instance": request.url.path})
    headers = {"Retry-After": str(RETRY_SECONDS)} if error.status in {429, 503} else {}
    return ProblemResponse(problem, headers)


def invalid(error: ValidationError | RequestValidationError, prefix: str | None = None) -> SoupsearchError:
    """The refusal of a document: one error, located by its path in the document, and the number of others.

    A field that does not exist comes first: if a name is mistyped, that is why another field is missing.
    """
    first = min(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    if first["type"] == "json_invalid":
        return MalformedBody(f"The {prefix or 'body'} is not JSON: {first['ctx']['error']}.", param=prefix)
    where = _path(first["loc"]) or prefix or "request"
    advice = _advice(first)
    told = f"{where}: {advice}" if advice else sentence(first, where)
    rest = len(error.errors()) - 1
    also = f" ({rest} more field{'s' if rest > 1 else ''} at fault.)" if rest else ""
    return InvalidRequest(f"{told}.{also}", param=where)


def _advice(fault: ErrorDetails) -> str | None:
    """What to do about a strategy that does not exist, or a field of another one."""
    location = [str(part) for part in fault["loc"] if part != "body"]
    if location[:1] != ["search"]:
        return None
    if fault["type"] == "union_tag_invalid":
        return f"There is no strategy {fault['ctx']['tag']!r}. Choose one of {', '.join(sorted(kinds()))}"
    if fault["type"] == "extra_forbidden" and len(location) == 3:
        _, chosen, field = location
        owners = sorted(name for name, kind in kinds().items() if field in kind.request.model_fields)
        if owners:
            return (
                f"{field} belongs to {' and '.join(owners)}, not to {chosen}: choose another strategy, or leave it out"
            )
    return None


def _path(location: Sequence[int | str]) -> str:
    """The path of an error within a document, without the document's own location and the kind of search."""
    parts = [part for part in location if part not in {"query", "path", "header", "body"}]
    if len(parts) > 1 and parts[0] == "search":
        del parts[1]
    return place(parts)


async def on_soupsearch_error(request: Request, error: Exception) -> Response:
    """Answer one of the service's own errors."""
    if not isinstance(error, SoupsearchError):
        raise error
    return respond(request, error)


async def on_validation_error(request: Request, error: Exception) -> Response:
    """Answer with the parameter that is at fault."""
    if not isinstance(error, RequestValidationError):
        raise error
    return respond(request, invalid(error))


async def on_http_exception(request: Request, error: Exception) -> Response:
    """Answer an error that the framework raised."""
    if not isinstance(error, HTTPException):
        raise error
    problem = problem_of_status(error.status_code).model_copy(update={"instance": request.url.path})
    return ProblemResponse(problem, error.headers)


async def on_redis_error(request: Request, error: Exception) -> Response:
    """Redis does not answer or refuses the write; perhaps only the answer to a successful write was lost."""
    logger.warning("Redis: %s", error)
    return respond(request, Unavailable(UNAVAILABLE, code="job_store_unavailable"))


async def on_os_error(request: Request, error: Exception) -> Response:
    """A full disk has its own status; any other system error is the service's fault."""
    if isinstance(error, OSError) and error.errno in {errno.ENOSPC, errno.EDQUOT}:
        detail = "The disk of the artifact store is full. Free space or delete sets and jobs, then try again."
        return respond(request, StorageFull(detail))
    raise error


async def on_disconnect(request: Request, _error: Exception) -> Response:
    """The caller disconnected in the middle of its body, so nobody reads the answer."""
    logger.info("%s %s: the caller went away", request.method, request.url.path)
    return respond(request, MalformedBody("The body ended early."))


async def on_unexpected(request: Request, _error: Exception) -> Response:
    """An internal error: the server logs it in full, and the answer reveals none of it."""
    detail = "The service failed. Its log says why; trying again may help, reporting it certainly does."
    return respond(request, SoupsearchError(detail))


def install_problems(app: FastAPI) -> None:
    """Make ``app`` answer every error with a problem document."""
    app.add_exception_handler(SoupsearchError, on_soupsearch_error)
    app.add_exception_handler(RequestValidationError, on_validation_error)
    app.add_exception_handler(HTTPException, on_http_exception)
    app.add_exception_handler(RedisError, on_redis_error)
    app.add_exception_handler(OSError, on_os_error)
    app.add_exception_handler(ClientDisconnect, on_disconnect)
    app.add_exception_handler(Exception, on_unexpected)
