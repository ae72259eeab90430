"""Middleware for every answer: safe headers, problem documents instead of plain text, refusals that arrive."""

from urllib.parse import urlsplit

import anyio
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.api.problems import PROBLEM_MEDIA_TYPE, ProblemResponse, make_problem, problem_of_status

LINGER_SECONDS = 10.0
SAFE_METHODS = {"GET", "HEAD", "OPTIONS"}

SAFE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
}


class SafeHeaders:
    """Adds headers that limit what a browser does with an answer."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and return its answer with the headers."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_safely)


class ProblemsOnly:
    """Replaces the framework's own error answers, which are plain text, with problem documents."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and return its answer unchanged or as a problem."""
        replaced = False

        async def send_problem(message: Message) -> None:
            nonlocal replaced
            if message["type"] == "http.response.start" and _is_plain_error(message):
                replaced = True
                problem = problem_of_status(message["status"]).model_copy(update={"instance": scope["path"]})
                kept = {k: v for k, v in Headers(scope=message).items() if k in {"allow", "content-range"}}
                await ProblemResponse(problem, kept)(scope, receive, send)
            elif not replaced:
                await send(message)

        await self.app(scope, receive, send_problem if scope["type"] == "http" else send)


def _is_plain_error(message: Message) -> bool:
    content_type = Headers(scope=message).get("content-type", "")
    return bool(message["status"] >= 400) and not content_type.startswith(PROBLEM_MEDIA_TYPE)


class SameOrigin:
    """Refuses writes that the user's browser sends for a page of another site.

    The service listens on localhost without access keys, so any page could otherwise start jobs. Its own pages come
    from the request's host, or from ``public_url`` behind a proxy.
    """

    def __init__(self, app: ASGIApp, public_url: str = "") -> None:
        self.app = app
        self.public_host = urlsplit(public_url).netloc

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on unless its Origin is another site."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS or self._is_own(Headers(scope=scope)):
            await self.app(scope, receive, send)
            return
        detail = "Pages of other sites may not change anything here. Call the service from its own page or a program."
        await ProblemResponse(make_problem(403, "cross_origin", detail, param="Origin"))(scope, receive, send)

    def _is_own(self, headers: Headers) -> bool:
        origin = headers.get("origin")
        return origin is None or origin.partition("://")[2] in {headers.get("host"), self.public_host or None}


class Lingering:
    """Lets a refusal reach a caller that is still sending its body.

    If a server closes a connection while bytes arrive, the operating system resets it and the caller loses the
    answer. So the whole answer is sent, and further input is read and dropped for ``LINGER_SECONDS``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and end its answer only after the request's body."""
        if scope["type"] != "http" or scope["method"] in SAFE_METHODS:
            await self.app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        body_ended = headers.get("content-length", "0") == "0" and "transfer-encoding" not in headers
        body_begun = headers.get("expect", "").lower() != "100-continue"

        async def watch() -> Message:
            nonlocal body_ended, body_begun
            message = await receive()
            body_begun = True
            body_ended = body_ended or message["type"] != "http.request" or not message.get("more_body")
            return message

        async def finish(message: Message) -> None:
            if message["type"] != "http.response.body" or message.get("more_body") or body_ended or not body_begun:
                await send(message)
                return
            await send({**message, "more_body": True})
            with anyio.move_on_after(LINGER_SECONDS):
                while not body_ended:
                    await watch()
            await send({"type": "http.response.body"})

        await self.app(scope, watch, finish)
