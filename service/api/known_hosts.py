"""The host names that the service answers to."""

import re
from ipaddress import ip_address
from urllib.parse import urlsplit

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from service.api.problems import ProblemResponse, make_problem
from service.settings import Settings

HOST = re.compile(r"(?:\[([0-9a-f:.]+)\]|([^\[\]:@/?#\s]+))(?::\d*)?")
PROBES = {"/healthz", "/readyz", "/metrics"}
"""Paths for probes, which may use any address of this machine that an orchestrator chooses."""


def is_loopback(host: str) -> bool:
    """Whether ``host`` is ``localhost`` or an address that only this machine reaches."""
    return host == "localhost" or (is_address(host) and ip_address(host).is_loopback)


def is_address(host: str) -> bool:
    """Whether ``host`` is an IP address."""
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def name_of(host: str) -> str:
    """The name or address in a Host header in lower case, without its port; empty when it is neither."""
    found = HOST.fullmatch(host.lower())
    return (found[1] or found[2]) if found else ""


class KnownHosts:
    """Refuses requests unless they name a loopback name, one of ``allowed_hosts`` or the host of ``public_url``.

    Another site can point its own name to the address of the service (DNS rebinding). Its pages then have the same
    origin as the service, and only the name in Host shows it. DNS rebinding cannot put an address in Host, so probes
    may use any address.
    """

    def __init__(self, app: ASGIApp, settings: Settings) -> None:
        self.app = app
        self.names = {name for name in settings.allowed_hosts.split(",") if name}
        if public_name := urlsplit(settings.public_url).hostname:
            self.names.add(public_name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on if its Host is known."""
        if scope["type"] != "http" or self._is_known(name_of(Headers(scope=scope).get("host", "")), scope["path"]):
            await self.app(scope, receive, send)
            return
        detail = (
            "The service does not go by the name in Host. Call it as localhost, or add the name to "
            "SOUPSEARCH_ALLOWED_HOSTS where the API runs, which also answers to the host of SOUPSEARCH_PUBLIC_URL."
        )
        problem = make_problem(421, "unknown_host", detail, param="Host", instance=scope["path"])
        await ProblemResponse(problem)(scope, receive, send)

    def _is_known(self, name: str, path: str) -> bool:
        if "*" in self.names or is_loopback(name) or name in self.names:
            return True
        return path in PROBES and is_address(name)
