"""Checks of uploaded pantries by a worker: the service has neither torch nor timm.

The API pushes a request to the list of checks; a supervisor takes it, looks at the staged folder in the data folder
that both share, and pushes its answer to a list of the request's own.
"""

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

from redis import Redis

from service.errors import InvalidPantry, SoupsearchError, Unavailable
from service.exchange import Exchange
from service.jobs.keys import Keys
from service.settings import Settings

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
    relative = folder.resolve().relative_to(settings.data_dir.resolve())
    answer = _exchange(redis, settings).ask({"folder": relative.as_posix()}, settings.verify_timeout)
    _raise_refusal(answer, settings)


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
    return _exchange(redis, settings).answer_next(lambda question: _answer(check, settings.data_dir, question), timeout)


def _exchange(redis: Redis, settings: Settings) -> Exchange:
    keys = Keys(settings.redis_prefix)
    return Exchange(redis, keys.checks, keys.check)


def _answer(check: Check, data_dir: Path, question: dict[str, Any]) -> dict[str, Any]:
    try:
        folder = data_dir / question["folder"]
        if not folder.is_dir():
            return _refusal(
                "check_failed", "the worker does not see the upload: API and workers must share SOUPSEARCH_DATA_DIR"
            )
        run_check(check, folder)
    except SoupsearchError as error:
        return _refusal(error.code, error.detail, refused=isinstance(error, InvalidPantry), param=error.param)
    except Exception:  # noqa: BLE001 -- whoever waits must hear of any failure
        _log.exception("the check of a pantry failed")
        return _refusal("check_failed", "the worker could not check the pantry, and its log says why: send it again")
    return {"code": None}


def _refusal(code: str, detail: str, *, refused: bool = False, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "detail": detail, "refused": refused, "param": param}
