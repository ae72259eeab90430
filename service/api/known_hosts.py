"""Which names the service answers to while it listens on this machine alone."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.problems import ProblemResponse, make_problem

HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@/?#\s]+))(?::\d*)?")


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or an address that only this machine reaches."""
    try:
        return host.lower() == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


def name_of(host: str) -> str:
    """The name or address in a Host header, without its port; empty when it is neither."""
    found = HOST.fullmatch(host.lower())
    return (found[1] or found[2]) if found else ""


class KnownHosts:
    """Refuses requests to another name than the service's own, while it listens on the loopback interface.

    Another site can lead its own name to 127.0.0.1 (DNS rebinding): its pages then share the origin of what they read
    and write here, and only the name in Host tells. Elsewhere the service cannot know the names it is reached by.
    """

    def __init__(self, app: ASGIApp, host: str, public_url: str = "") -> None:
        self.app = app
        self.is_guarded = is_loopback(host)
        self.public_name = urlsplit(public_url).hostname

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on unless its Host is unknown."""
        if scope["type"] != "http" or not self.is_guarded or self._is_known(Headers(scope=scope).get("host", "")):
            await self.app(scope, receive, send)
            return
        detail = (
            "The service listens on this machine alone and does not go by the name in Host. Call it as localhost, or "
            "set SOUPSEARCH_PUBLIC_URL to the address that a proxy before it has."
        )
        problem = make_problem(421, "unknown_host", detail, param="Host", instance=scope["path"])
        await ProblemResponse(problem)(scope, receive, send)

    def _is_known(self, host: str) -> bool:
        name = name_of(host)
        return is_loopback(name) or (name != "" and name == self.public_name)
