"""Calls that wait: for a worker, or for what a job does next."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from service.errors import Unavailable

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


class WaitingRoom:
    """A number of places for calls of one kind. A call that finds none free is refused at once (``busy``)."""

    def __init__(self, places: int, refusal: str) -> None:
        self._places = anyio.Semaphore(places)
        self._refusal = refusal

    def check(self) -> None:
        """Raise Unavailable when no place is free now: before a body is read that would be for nothing."""
        if self._places.value == 0:
            raise Unavailable(self._refusal, code="busy")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place. Raises Unavailable when none is free."""
        self.check()
        self._places.acquire_nowait()
        try:
            yield
        finally:
            self._places.release()

    async def run(self, call: Callable[[*Arguments], Answer], *arguments: *Arguments) -> Answer:
        """Hold a place and run ``call`` in a thread outside the pool that all calls share, which it would drain.

        Raises Unavailable when no place is free, and what ``call`` raises.
        """
        with self.place():
            return await anyio.to_thread.run_sync(call, *arguments, limiter=anyio.CapacityLimiter(1))
