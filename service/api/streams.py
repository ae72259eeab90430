"""Server-sent events that end when the server stops."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Any

import anyio
from sse_starlette import EventSourceResponse, ServerSentEvent
from starlette.types import Receive, Scope, Send

from service.api.waiting import WaitingRoom
from service.schemas.job import Event

HEARTBEAT_SECONDS = 15
RECONNECT_MILLISECONDS = 2000


async def until(events: AsyncGenerator[Event, None], stopping: anyio.Event) -> AsyncGenerator[Event, None]:
    """Yield ``events`` up to one of type ``end``, or until ``stopping`` is set."""
    stop = asyncio.ensure_future(stopping.wait())
    async with aclosing(events):
        try:
            while (event := await _next(events, stop)) is not None:
                yield event
                if event.type == "end":
                    return
        finally:
            stop.cancel()


async def _next(events: AsyncGenerator[Event, None], stop: asyncio.Future[None]) -> Event | None:
    """The next event; None if there is none or ``stop`` finishes first."""
    step: asyncio.Future[Event | None] = asyncio.ensure_future(anext(events, None))
    waiting: set[asyncio.Future[Any]] = {step, stop}
    try:
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        return step.result() if step.done() else None
    finally:
        if not step.done():
            step.cancel()
            with anyio.CancelScope(shield=True):
                await asyncio.wait({step})


async def _encode(events: AsyncGenerator[Event, None]) -> AsyncIterator[ServerSentEvent]:
    async with aclosing(events):
        async for event in events:
            data = json.dumps(event.data)
            yield ServerSentEvent(data=data, event=event.type, id=event.id, retry=RECONNECT_MILLISECONDS)


class EventStream(EventSourceResponse):
    """An answer that streams ``events``, with a heartbeat while there are none.

    It holds a place in ``room`` from its first byte to its last. Raises Unavailable at the start if none is free.
    """

    def __init__(self, events: AsyncGenerator[Event, None], stopping: anyio.Event, room: WaitingRoom) -> None:
        super().__init__(_encode(until(events, stopping)), ping=HEARTBEAT_SECONDS, sep="\n")
        self._room = room

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Stream until the end, or until the caller disconnects."""
        with self._room.place():
            await super().__call__(scope, receive, send)
