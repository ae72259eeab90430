"""The application: routes, middleware and their shared state."""

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version

import anyio
from fastapi import Depends, FastAPI
from starlette.concurrency import run_in_threadpool

from service.api.known_hosts import KnownHosts
from service.api.metrics import RequestMetrics
from service.api.middleware import Lingering, ProblemsOnly, SafeHeaders, SameOrigin
from service.api.openapi import install_openapi
from service.api.parameters import check_declared
from service.api.problems import install_problems
from service.api.routes import adapt, adaptation_sets, events, health, jobs, models, pantries, points, suggest_labels
from service.api.services import Services
from service.pages import site
from service.settings import Settings, get_settings

DESCRIPTION = (
    "Finds the best model soup for a new data distribution from a few labelled images: upload the images, watch the "
    "job, download the merged model. Every error is an RFC 9457 problem document with a stable `code`."
)
TAGS = [
    {"name": "jobs", "description": "Requests to adapt, from acceptance to the merged model."},
    {"name": "adaptation sets", "description": "A few labelled images of a new distribution."},
    {"name": "pantries", "description": "Named sets of checkpoints to make soups of."},
    {"name": "operation", "description": "Health and measurements."},
    {"name": "pages", "description": "For people."},
]
SWEEP_SECONDS = 600

logger = logging.getLogger(__name__)


def create_app(settings: Settings | None = None) -> FastAPI:
    """The API as an ASGI application. It starts without Redis; only calls that need Redis wait for it."""
    services = Services(settings or get_settings())
    app = FastAPI(
        title="soupsearch",
        summary="Finds the best model soup for a new data distribution from a few labelled images",
        description=DESCRIPTION,
        version=version("soupsearch"),
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(check_declared)],
        lifespan=_lifespan,
        redirect_slashes=False,
    )
    app.state.services = services
    for module in (adapt, suggest_labels, jobs, events, points, models, adaptation_sets, pantries, health, site):
        app.include_router(module.router)
    site.mount_files(app)
    install_problems(app)
    install_openapi(app)
    app.add_middleware(SameOrigin, public_url=services.settings.public_url)
    app.add_middleware(KnownHosts, settings=services.settings)
    for middleware in (ProblemsOnly, Lingering, SafeHeaders):
        app.add_middleware(middleware)
    app.add_middleware(RequestMetrics, metrics=services.metrics)
    return app


@asynccontextmanager
async def _lifespan(app: FastAPI) -> AsyncIterator[None]:
    services: Services = app.state.services
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_sweep, services)
        yield
        services.stopping.set()
        tasks.cancel_scope.cancel()
    await services.close()


async def _sweep(services: Services) -> None:
    """Regularly remove the remains of broken uploads, because a killed process cannot clean up after itself."""
    while True:
        try:
            removed = await run_in_threadpool(services.artifacts.sweep)
            if removed:
                logger.info("removed %d abandoned uploads", removed)
        except OSError as error:
            logger.warning("cannot sweep the artifact store: %s", error)
        await anyio.sleep(SWEEP_SECONDS)
