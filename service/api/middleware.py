"""What every answer passes through: safe headers, problems instead of plain text, refusals that arrive."""

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
    """Adds the headers that keep a browser from doing more with an answer than it should."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back with the headers."""

        async def send_safely(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in SAFE_HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        await self.app(scope, receive, send_safely)


class ProblemsOnly:
    """Replaces error answers of the framework's own making, which are plain text, by problem documents."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and its answer back as it is or as a problem."""
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
    """Refuses writes that a page of another site makes the user's browser send.

    The service listens on localhost without access keys, where any page could otherwise start jobs. Its own pages
    come from the host that was asked, or from ``public_url`` when a proxy stands before it.
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
    """Lets a refusal reach a caller that still sends its body.

    A server that closes while bytes come in makes the operating system reset the connection, and the caller loses
    the answer. So the answer goes out whole, and what still comes is read and dropped for ``LINGER_SECONDS``.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on, and end its answer only after its body."""
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
