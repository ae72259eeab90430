"""Serves the pages, their scripts and styles, and the libraries that they use from their installed packages."""

from functools import lru_cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request, Response
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from starlette.middleware.gzip import GZipMiddleware
from starlette.responses import FileResponse, HTMLResponse
from starlette.staticfiles import StaticFiles
from starlette.types import Receive, Scope, Send

from service.api.openapi import problems, raw_answer
from service.api.parameters import Parameters
from service.api.routes.jobs import NO_JOB
from service.api.services import Use
from service.errors import NotFound

HERE = Path(__file__).parent
STATIC = HERE / "static"

CONTENT_POLICY = "; ".join(
    [
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self' data: blob:",
        "connect-src 'self'",
        "font-src 'self'",
        "form-action 'self'",
        "base-uri 'none'",
        "frame-ancestors 'none'",
    ]
)

LIBRARIES = {
    "plotly.min.js": ("plotly", "package_data/plotly.min.js"),
    "swagger-ui-bundle.js": ("fastapi_offline", "static/swagger-ui-bundle.js"),
    "swagger-ui.css": ("fastapi_offline", "static/swagger-ui.css"),
}
"""File under ``/static/lib`` to the installed package that brings it and its place there."""

EXAMPLE_PAGE = "<!doctype html><html>...</html>"

router = APIRouter(tags=["pages"])

templates = Environment(
    loader=FileSystemLoader(HERE / "templates"), autoescape=True, undefined=StrictUndefined, auto_reload=False
)


def render(name: str, **values: Any) -> HTMLResponse:
    """The page ``name`` with the policy that lets it load nothing from elsewhere."""
    content = templates.get_template(name).render(version=version("soupsearch"), **values)
    headers = {"Content-Security-Policy": CONTENT_POLICY, "Cache-Control": "no-cache"}
    return HTMLResponse(content, headers=headers)


@router.get(
    "/",
    response_class=HTMLResponse,
    summary="The page of jobs",
    responses=raw_answer(200, "Jobs, pantries, and a form for a new job.", "text/html", EXAMPLE_PAGE),
)
def index() -> Response:
    """Lists jobs as they change, and pantries; starts a job from an archive of images."""
    return render("index.html")


@router.get(
    "/jobs/{job_id}/view",
    response_class=HTMLResponse,
    summary="The page of a job",
    responses=raw_answer(200, "Progress, result and download.", "text/html", EXAMPLE_PAGE) | problems(NO_JOB),
)
def view_job(job_id: str, request: Request, use: Use) -> Response:
    """Follows a job to its download: progress, best soups, and the soup against its ingredients."""
    job = use.jobs.get(job_id)
    base = use.settings.public_url.rstrip("/") or str(request.base_url).rstrip("/")
    return render("job.html", job=job, base=base)


@router.get(
    "/docs",
    response_class=HTMLResponse,
    summary="The documentation of the API",
    responses=raw_answer(200, "Every call, to read and to try.", "text/html", EXAMPLE_PAGE),
)
def docs() -> Response:
    """This document, to read and to try the calls."""
    return render("docs.html")


@lru_cache
def library_path(name: str) -> Path:
    """Where the file ``name`` of a library lies.

    Raises:
        NotFound: it is none of the libraries'.
    """
    if name not in LIBRARIES:
        raise NotFound(f"There is no library file {name!r}. There are {', '.join(LIBRARIES)}.", code="route_not_found")
    package, place = LIBRARIES[name]
    spec = find_spec(package)
    if spec is None or spec.origin is None:
        raise NotFound(f"The package {package} is not installed. Install it, then try again.", code="route_not_found")
    return Path(spec.origin).parent / place


async def _send_library(scope: Scope, receive: Receive, send: Send) -> None:
    name = scope["path"].rpartition("/")[2]
    response = FileResponse(library_path(name), headers={"Cache-Control": "public, max-age=86400"})
    await response(scope, receive, send)


def mount_files(app: FastAPI) -> None:
    """Serve the scripts and styles under ``/static``, compressed; ``v`` renews what a browser has kept."""
    app.mount("/static/lib", Parameters(GZipMiddleware(_send_library), "v"), name="libraries")
    app.mount("/static", Parameters(GZipMiddleware(StaticFiles(directory=STATIC)), "v"), name="static")
