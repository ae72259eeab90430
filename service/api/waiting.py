"""Calls that wait for a worker or for the next event of a job."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar, TypeVarTuple

import anyio
import anyio.to_thread

from service.errors import Unavailable

Answer = TypeVar("Answer")
Arguments = TypeVarTuple("Arguments")


class WaitingRoom:
    """A limited number of places for calls of one kind. If none is free, a call is refused at once (``busy``)."""

    def __init__(self, places: int, refusal: str) -> None:
        self._places = anyio.Semaphore(places)
        self._refusal = refusal

    def check(self) -> None:
        """Raise Unavailable if no place is free now, before a body is read in vain."""
        if self._places.value == 0:
            raise Unavailable(self._refusal, code="busy")

    @contextmanager
    def place(self) -> Iterator[None]:
        """Hold a place. Raises Unavailable if none is free."""
        self.check()
        self._places.acquire_nowait()
        try:
            yield
        finally:
            self._places.release()

    async def run(self, call: Callable[[*Arguments], Answer], *arguments: *Arguments) -> Answer:
        """Hold a place and run ``call`` in its own thread, so that it does not exhaust the pool that all calls share.

        Raises Unavailable if no place is free, and any error of ``call``.
        """
        with self.place():
            return await anyio.to_thread.run_sync(call, *arguments, limiter=anyio.CapacityLimiter(1))
