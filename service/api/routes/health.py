"""Health, readiness and metrics, for machines."""

import logging
from collections.abc import Callable

from fastapi import APIRouter, Response
from prometheus_client import CONTENT_TYPE_LATEST
from redis.exceptions import RedisError

from service.api.examples import HEALTH, METRICS, READINESS
from service.api.openapi import answer, problems, raw_answer
from service.api.services import Services, Use
from service.errors import SoupsearchError, Unavailable
from service.schemas.health import Health, Readiness

router = APIRouter(tags=["operation"])

logger = logging.getLogger(__name__)


@router.get("/healthz", response_model=Health, summary="Is the process alive?", responses=answer(200, "It is.", HEALTH))
async def healthz() -> Health:
    """Answers as long as the process runs; says nothing about Redis or the disk."""
    return Health()


def _check_job_store(use: Services) -> None:
    use.probe.ping()


def _check_artifact_store(use: Services) -> None:
    use.artifacts.reserve()
    use.artifacts.check()


CHECKS: dict[str, Callable[[Services], None]] = {
    "job_store": _check_job_store,
    "artifact_store": _check_artifact_store,
}


@router.get(
    "/readyz",
    response_model=Readiness,
    summary="Can it take jobs?",
    responses=answer(200, "It can.", READINESS)
    | problems(Unavailable("job_store is not ready. The log of the API says why.", code="not_ready")),
)
def readyz(use: Use) -> Readiness:
    """Asks the job store and the artifact store; 503 names the first that does not answer."""
    for name, check in CHECKS.items():
        try:
            check(use)
        except (RedisError, OSError, SoupsearchError) as error:
            logger.warning("not ready: %s: %s", name, error)
            raise Unavailable(f"{name} is not ready. The log of the API says why.", code="not_ready") from error
    return Readiness(checks=dict.fromkeys(CHECKS, "ok"), workers=use.supervisors.live())


@router.get(
    "/metrics",
    response_class=Response,
    summary="Measurements",
    responses=raw_answer(200, "Prometheus's text format.", "text/plain", METRICS),
)
def metrics(use: Use) -> Response:
    """Requests, accepted jobs and uploads of this process; jobs by status in the whole service."""
    return Response(use.metrics.render(), media_type=CONTENT_TYPE_LATEST)
