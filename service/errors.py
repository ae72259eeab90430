"""All errors that users can see, in one tree, each with its HTTP status and stable code."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from typing import ClassVar

_OF_CONTENTS = {None, errno.EINVAL}


class SoupsearchError(Exception):
    """An error with a stable ``code``; the message says what is wrong and what to change."""

    status: ClassVar[int] = 500
    code: str = "internal_error"
    title: ClassVar[str] = "Internal error"

    def __init__(self, detail: str, *, param: str | None = None, code: str | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.param = param
        if code is not None:
            self.code = code


class InvalidRequest(SoupsearchError):
    """The request contradicts itself or the pantry."""

    status = 422
    code = "invalid_request"
    title = "Invalid request"


class InvalidSet(SoupsearchError):
    """An adaptation set is refused; nothing of it is kept."""

    status = 422
    code = "invalid_set"
    title = "Invalid adaptation set"


class InvalidPantry(SoupsearchError):
    """A pantry is refused; nothing of it is kept."""

    status = 422
    code = "invalid_pantry"
    title = "Invalid pantry"


class TooLarge(SoupsearchError):
    """An upload exceeds a limit in bytes, images or pixels."""

    status = 413
    code = "too_large"
    title = "Too large"


class UnsupportedMediaType(SoupsearchError):
    """The body has a type that the call does not accept."""

    status = 415
    code = "unsupported_media_type"
    title = "Unsupported media type"


class MalformedBody(SoupsearchError):
    """The body cannot be parsed."""

    status = 400
    code = "malformed_body"
    title = "Malformed body"


class NotFound(SoupsearchError):
    """The requested thing does not exist."""

    status = 404
    code = "not_found"
    title = "Not found"


class JobNotFound(NotFound):
    """There is no such job, or it has expired."""

    code = "job_not_found"


class PantryNotFound(NotFound):
    """There is no such pantry."""

    code = "pantry_not_found"


class SetNotFound(NotFound):
    """There is no such adaptation set."""

    code = "set_not_found"


class Conflict(SoupsearchError):
    """The current state does not allow the call."""

    status = 409
    code = "conflict"
    title = "Conflict"


class JobNotFinished(Conflict):
    """Only a job that has ended can be deleted."""

    code = "job_not_finished"


class ModelNotReady(Conflict):
    """The job has no model yet, or never will."""

    code = "model_not_ready"


class PantryExists(Conflict):
    """A pantry of this name exists; pantries are immutable."""

    code = "pantry_exists"


class InUse(Conflict):
    """A job that has not ended needs the set or pantry."""

    code = "in_use"


class DeletedMeanwhile(Conflict):
    """Something that a request names was deleted while the request was checked."""

    code = "deleted_meanwhile"


class Expired(SoupsearchError):
    """The requested thing existed, but was removed after its time."""

    status = 410
    code = "expired"
    title = "Expired"


class RangeNotSatisfiable(SoupsearchError):
    """The requested range lies outside the file."""

    status = 416
    code = "range_not_satisfiable"
    title = "Range not satisfiable"


class IdempotencyConflict(SoupsearchError):
    """The Idempotency-Key was used with another body."""

    status = 422
    code = "idempotency_conflict"
    title = "Idempotency key reused"


class QuotaExceeded(SoupsearchError):
    """Too many jobs wait."""

    status = 429
    code = "quota_exceeded"
    title = "Too many jobs"


class StorageFull(SoupsearchError):
    """The disk of the artifact store is full."""

    status = 507
    code = "storage_full"
    title = "Insufficient storage"


class Unavailable(SoupsearchError):
    """Something that the service needs does not answer at the moment; try again."""

    status = 503
    code = "unavailable"
    title = "Service unavailable"


class FencedOut(SoupsearchError):
    """A write by an attempt that is no longer the job's current one."""

    status = 409
    code = "fenced_out"
    title = "Attempt superseded"


@contextmanager
def at_fault(param: str, *kinds: type[SoupsearchError]) -> Iterator[None]:
    """Make ``param`` the field, part or header at fault in the errors of ``kinds`` that name none in the block."""
    try:
        yield
    except kinds as error:
        error.param = error.param or param
        raise


def is_of_machine(error: BaseException) -> bool:
    """Whether ``error``, raised while reading a file, comes from the machine's disk or memory, not from the contents.

    Parsers also raise OSError for damaged contents, but without an errno; EINVAL comes from a seek to a bad offset in
    the contents. An error that they raise while they handle a disk error counts as a disk error.
    """
    while not (isinstance(error, MemoryError) or (isinstance(error, OSError) and error.errno not in _OF_CONTENTS)):
        if (earlier := error.__cause__ or error.__context__) is None:
            return False
        error = earlier
    return True
