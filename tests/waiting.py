"""Waiting for conditions, never for time."""

import time
from collections.abc import Callable
from typing import Literal, TypeVar

T = TypeVar("T")


def wait_until(predicate: Callable[[], T | Literal[False] | None], timeout: float = 30.0, interval: float = 0.05) -> T:
    """Call ``predicate`` until it returns something truthy and return that; AssertionError after ``timeout`` s."""
    deadline = time.monotonic() + timeout
    while not (value := predicate()):
        assert time.monotonic() < deadline, f"{predicate} was not true within {timeout} s"
        time.sleep(interval)
    return value
