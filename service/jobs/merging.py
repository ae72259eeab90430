"""Soups of an ended job that a worker merges on request, since the service has no torch."""

import logging
from collections.abc import Callable
from typing import Any

from redis import Redis

from service.errors import Expired, NotFound, SoupsearchError, StorageFull, Unavailable
from service.exchange import Exchange
from service.jobs.keys import Keys
from service.settings import Settings

_log = logging.getLogger(__name__)

Merge = Callable[[str, int], None]
"""Merges the soup of a job's point, stores the model and names it in the job. Raises SoupsearchError."""

_KINDS = {kind.status: kind for kind in (NotFound, Expired, StorageFull)}
_GONE = {
    "pantry_not_found": "the pantry",
    "pantry_changed": "the pantry",
    "set_not_found": "a set",
}


def request_merge(
    redis: Redis, settings: Settings, job_id: str, point: int, is_stopping: Callable[[], bool] = lambda: False
) -> None:
    """Let a worker merge the soup of a point; on return, the job names its model.

    Raises Expired if the pantry is gone, or a set that the soup was refined on; NotFound and StorageFull if the worker
    does; or Unavailable: ``merge_timeout`` after ``settings.verify_timeout`` seconds without an answer, ``stopping``
    once ``is_stopping()``, ``merge_failed``.
    """
    answer = _exchange(redis, settings).ask({"job": job_id, "point": point}, settings.verify_timeout, is_stopping)
    if answer is None:
        raise Unavailable(
            f"no worker has merged the soup within {settings.verify_timeout:g} s: all are busy, or gone; ask again, or "
            "start another `soupsearch worker`",
            code="merge_timeout",
        )
    if answer["code"] is None:
        return
    if answer["code"] in _GONE:
        what = _GONE[answer["code"]]
        raise Expired(f"{what} of job {job_id} was removed or replaced, so its soups cannot be merged any more")
    raise error_of(answer)


def answer_next(redis: Redis, settings: Settings, merge: Merge, timeout: float) -> bool:
    """Take the oldest request within ``timeout`` seconds, ``merge`` it and answer. Returns whether there was one.

    An unforeseen error of ``merge`` is logged and answered as ``merge_failed``.
    """
    return _exchange(redis, settings).answer_next(lambda question: _answer(merge, question), timeout)


def _answer(merge: Merge, question: dict[str, Any]) -> dict[str, Any]:
    try:
        merge(question["job"], question["point"])
    except SoupsearchError as error:
        return document_of(error)
    except Exception:  # noqa: BLE001 - the waiting caller must learn of any failure
        _log.exception("a soup could not be merged: %s", question)
        detail = "the worker could not merge the soup, and its log says why: ask again"
        return document_of(Unavailable(detail, code="merge_failed"))
    return {"code": None}


def document_of(error: SoupsearchError) -> dict[str, Any]:
    """What another process needs to raise ``error`` too."""
    return {"code": error.code, "detail": error.detail, "status": error.status}


def error_of(document: dict[str, Any]) -> SoupsearchError:
    """The error of ``document_of``; kinds that a download does not expect become Unavailable."""
    kind = _KINDS.get(document["status"], Unavailable)
    return kind(document["detail"], code=document["code"])


def _exchange(redis: Redis, settings: Settings) -> Exchange:
    keys = Keys(settings.redis_prefix)
    return Exchange(redis, keys.merges, keys.merge)
