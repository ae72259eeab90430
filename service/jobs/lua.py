"""The Lua scripts: each is one change of a job's state, atomic on the server."""

from functools import cache
from importlib.resources import files
from typing import Any

import redis

from service.jobs.keys import Keys

NAMES = (
    "submit",
    "claim",
    "renew",
    "start",
    "record",
    "warn",
    "phase",
    "cancel",
    "pause",
    "resume",
    "finish",
    "keep",
    "fail",
    "release",
    "delete",
    "deletion",
    "sweep",
)


@cache
def source(name: str) -> str:
    """Text of one script, with the common part before it."""
    folder = files("service.jobs") / "scripts"
    return "\n".join((folder / part).read_text(encoding="utf-8") for part in ("common.lua", f"{name}.lua"))


class Scripts:
    """The scripts on one server; reloads them if the server has lost them."""

    def __init__(self, client: redis.Redis, keys: Keys) -> None:
        self._prefix = keys.prefix
        self._scripts = {name: client.register_script(source(name)) for name in NAMES}

    def run(self, name: str, *arguments: str | int | float) -> tuple[str, list[Any]]:
        """Run a script; returns its outcome, such as ``ok`` or ``fenced``, and its other values.

        Repeats a call whose connection broke: every script answers a repeated call like the first.
        """
        outcome, *rest = self._scripts[name](keys=[self._prefix], args=arguments)
        return str(outcome), rest
