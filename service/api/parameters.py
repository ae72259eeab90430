"""Query parameters: each call accepts only those it declares, each at most once."""

from collections.abc import Collection

from fastapi import Request
from fastapi.dependencies.utils import get_flat_params
from fastapi.params import Query
from fastapi.routing import APIRoute
from starlette.datastructures import QueryParams
from starlette.types import ASGIApp, Receive, Scope, Send

from service.errors import InvalidRequest


def check_parameters(given: QueryParams, known: Collection[str]) -> None:
    """Raise InvalidRequest, naming the parameter, if one is not ``known`` or is given twice."""
    taken = f"The parameters here are {', '.join(sorted(known))}" if known else "There are no parameters here"
    for name in given:
        if name not in known:
            raise InvalidRequest(
                f"There is no query parameter {name!r}. {taken}: check its spelling, or leave it out.", param=name
            )
        if len(given.getlist(name)) > 1:
            raise InvalidRequest(f"The query parameter {name!r} is given twice. Give it once.", param=name)


async def check_declared(request: Request) -> None:
    """Restrict an API call to the parameters that its function and dependencies declare."""
    route: APIRoute = request.scope["route"]
    fields = get_flat_params(route.dependant)
    check_parameters(request.query_params, {each.alias for each in fields if isinstance(each.field_info, Query)})


class Parameters:
    """Restricts an application outside the API, such as a file server, to the parameters ``known``."""

    def __init__(self, app: ASGIApp, *known: str) -> None:
        self.app = app
        self.known = known

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on unless it has an unknown or repeated parameter."""
        check_parameters(QueryParams(scope["query_string"]), self.known)
        await self.app(scope, receive, send)
