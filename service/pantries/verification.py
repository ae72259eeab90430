"""Checks of uploaded pantries by a worker: the service has neither torch nor timm.

The API pushes a request to the list of checks; a supervisor takes it, looks at the staged folder in the data folder
that both share, and pushes its answer to a list of the request's own.
"""

import json
import logging
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

from redis import Redis

from service.errors import InvalidPantry, SoupsearchError, Unavailable
from service.jobs.keys import Keys
from service.settings import Settings

_SLICE = 1.0
_ANSWER_TTL = 60

_log = logging.getLogger(__name__)

Check = Callable[[Path], None]
"""Builds the model of the ingredient in a timm folder, by timm and without its weights, and compares names and shapes.

Raises InvalidPantry, or a ValueError that may have a ``code``, when that fails. One ingredient stands for all: that
they are alike has been checked before.
"""


def run_check(check: Check, folder: Path) -> None:
    """Run ``check`` on the ingredient in ``folder``. Raises InvalidPantry when it refuses, and its other errors."""
    try:
        check(folder)
    except ValueError as error:
        detail = str(error).replace(str(folder), f"ingredient {folder.name!r}")
        raise InvalidPantry(detail, code=getattr(error, "code", None)) from error


def request_verification(redis: Redis, settings: Settings, folder: Path) -> None:
    """Have a worker check the ingredient staged in ``folder``, which lies in ``settings.data_dir``.

    Raises InvalidPantry as the worker does, or Unavailable: ``no_worker`` after ``settings.verify_timeout`` seconds
    without an answer, ``check_failed`` when the worker could not check.
    """
    keys = Keys(settings.redis_prefix)
    check_id = uuid.uuid4().hex
    relative = folder.resolve().relative_to(settings.data_dir.resolve())
    request = json.dumps({"id": check_id, "folder": relative.as_posix()})
    redis.lpush(keys.checks, request)
    try:
        answer = _wait(redis, keys.check(check_id), settings.verify_timeout)
    finally:
        redis.lrem(keys.checks, 0, request)
    _raise_refusal(answer, settings)


def _wait(redis: Redis, key: str, timeout: float) -> dict[str, Any] | None:
    deadline = time.monotonic() + timeout
    while (left := deadline - time.monotonic()) > 0:
        popped = cast("list[Any] | None", redis.blpop([key], timeout=min(_SLICE, left)))
        if popped is not None:
            return cast("dict[str, Any]", json.loads(popped[1]))
    return None


def _raise_refusal(answer: dict[str, Any] | None, settings: Settings) -> None:
    if answer is None:
        raise Unavailable(
            f"no worker has checked the pantry within {settings.verify_timeout:g} s: start `soupsearch worker`, "
            "then send it again",
            code="no_worker",
        )
    if answer["code"] is None:
        return
    error = InvalidPantry if answer["refused"] else Unavailable
    raise error(answer["detail"], param=answer["param"], code=answer["code"])


def answer_next(redis: Redis, settings: Settings, check: Check, timeout: float) -> bool:
    """Take the oldest request within ``timeout`` seconds, run ``check`` on its folder and answer.

    Returns whether there was one. An error of ``check`` that is no refusal is logged and answered as
    ``check_failed``; it does not reach the caller.
    """
    keys = Keys(settings.redis_prefix)
    popped = cast("list[Any] | None", redis.brpop([keys.checks], timeout=timeout))
    if popped is None:
        return False
    request = json.loads(popped[1])
    answer = _answer(check, settings.data_dir / request["folder"])
    with redis.pipeline() as pipeline:
        pipeline.lpush(keys.check(request["id"]), json.dumps(answer))
        pipeline.expire(keys.check(request["id"]), _ANSWER_TTL)
        pipeline.execute()
    return True


def _answer(check: Check, folder: Path) -> dict[str, Any]:
    if not folder.is_dir():
        return _refusal(
            "check_failed", "the worker does not see the upload: API and workers must share SOUPSEARCH_DATA_DIR"
        )
    try:
        run_check(check, folder)
    except SoupsearchError as error:
        return _refusal(error.code, error.detail, refused=isinstance(error, InvalidPantry), param=error.param)
    except Exception as error:  # noqa: BLE001 -- whoever waits must hear of any failure
        _log.exception("the check of a pantry failed")
        return _refusal("check_failed", f"the worker could not check the pantry ({error}): send it again")
    return {"code": None}


def _refusal(code: str, detail: str, *, refused: bool = False, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "detail": detail, "refused": refused, "param": param}
