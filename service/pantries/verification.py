"""Checks of uploaded pantries by a worker, since the service has neither torch nor timm.

The API pushes a request, with the configuration of an ingredient and the header of its weights, to the list of checks.
A supervisor takes it and pushes its answer to a separate list for this request.
"""

import base64
import logging
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from redis import Redis

from service.errors import InvalidPantry, SoupsearchError, Unavailable
from service.exchange import Exchange
from service.jobs.keys import Keys
from service.pantries.ingredients import CONFIG_FILE, WEIGHTS_FILE
from service.settings import Settings

_log = logging.getLogger(__name__)

Check = Callable[[Path], None]
"""Builds the model of the ingredient in a timm folder, with timm and without weights, and compares names and shapes.

Raises InvalidPantry, or a ValueError that may have a ``code``, when that fails. One ingredient stands for all: that
they match each other has already been checked.
"""


def run_check(check: Check, folder: Path) -> None:
    """Run ``check`` on the ingredient in ``folder``. Raises InvalidPantry if it refuses, and its other errors."""
    try:
        check(folder)
    except ValueError as error:
        detail = str(error).replace(str(folder), f"ingredient {folder.name!r}")
        raise InvalidPantry(detail, code=getattr(error, "code", None)) from error


def request_verification(
    redis: Redis, settings: Settings, folder: Path, is_stopping: Callable[[], bool] = lambda: False
) -> None:
    """Let a worker check the ingredient in the timm folder ``folder``.

    Raises InvalidPantry if the worker does, or Unavailable: ``no_worker`` after ``settings.verify_timeout`` seconds
    without an answer, ``stopping`` once ``is_stopping()``, ``check_failed`` if the worker could not check.
    """
    weights = folder / WEIGHTS_FILE
    with weights.open("rb") as file:
        length = file.read(8)
        header = length + file.read(int.from_bytes(length, "little"))
    files = {"config": (folder / CONFIG_FILE).read_bytes(), "header": header}
    question: dict[str, Any] = {name: base64.b64encode(content).decode() for name, content in files.items()}
    question |= {"ingredient": folder.name, "bytes": weights.stat().st_size}
    answer = _exchange(redis, settings).ask(question, settings.verify_timeout, is_stopping)
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
    """Take the oldest request within ``timeout`` seconds, run ``check`` on its ingredient and answer.

    ``check`` sees a folder whose weights have the ingredient's header and length, and are all zero. Returns whether
    there was a request. An error of ``check`` other than a refusal is logged and answered as ``check_failed``; it
    does not reach the caller.
    """
    return _exchange(redis, settings).answer_next(lambda question: _answer(check, question), timeout)


def _exchange(redis: Redis, settings: Settings) -> Exchange:
    keys = Keys(settings.redis_prefix)
    return Exchange(redis, keys.checks, keys.check)


def _answer(check: Check, question: dict[str, Any]) -> dict[str, Any]:
    try:
        with TemporaryDirectory(prefix="soupsearch-") as scratch:
            folder = Path(scratch, question["ingredient"])
            folder.mkdir()
            (folder / CONFIG_FILE).write_bytes(base64.b64decode(question["config"]))
            with (folder / WEIGHTS_FILE).open("xb") as file:
                file.write(base64.b64decode(question["header"]))
                file.truncate(question["bytes"])
            run_check(check, folder)
    except SoupsearchError as error:
        return _refusal(error.code, error.detail, refused=isinstance(error, InvalidPantry), param=error.param)
    except Exception:  # noqa: BLE001 -- the waiting caller must learn of any failure
        _log.exception("the check of a pantry failed")
        return _refusal("check_failed", "the worker could not check the pantry, and its log says why: send it again")
    return {"code": None}


def _refusal(code: str, detail: str, *, refused: bool = False, param: str | None = None) -> dict[str, Any]:
    return {"code": code, "detail": detail, "refused": refused, "param": param}
