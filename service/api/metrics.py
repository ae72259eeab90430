"""Measurements for Prometheus."""

import logging
import time
from collections.abc import Callable, Iterable, Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Metric, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector
from redis.exceptions import RedisError
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.schemas.job import JobStatus

METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "CONNECT"}
SECONDS = (0.005, 0.025, 0.1, 0.5, 2.5, 10, 60)

logger = logging.getLogger(__name__)


class JobsByStatus(Collector):
    """Number of jobs in each status, counted in the job store when Prometheus asks."""

    def __init__(self, count: Callable[[], Mapping[JobStatus, int]]) -> None:
        self._count = count

    def collect(self) -> Iterable[Metric]:
        """One gauge per status; ``soupsearch_job_store_up`` is 0 if the store does not answer."""
        up = GaugeMetricFamily("soupsearch_job_store_up", "Whether the job store answers.")
        jobs = GaugeMetricFamily("soupsearch_jobs", "Jobs in the store.", labels=["status"])
        try:
            for status, number in self._count().items():
                jobs.add_metric([status], number)
            up.add_metric([], 1)
        except RedisError as error:
            logger.warning("Redis: %s", error)
            up.add_metric([], 0)
        return [up, jobs]


class Metrics:
    """The metrics of one process."""

    def __init__(self, count_jobs: Callable[[], Mapping[JobStatus, int]], free_bytes: Callable[[], int]) -> None:
        self.registry = CollectorRegistry()
        labels = ["method", "route", "status"]
        self.requests = Counter("soupsearch_http_requests", "Requests answered.", labels, registry=self.registry)
        self.seconds = Histogram(
            "soupsearch_http_request_seconds",
            "Time to the end of the answer.",
            ["method", "route"],
            registry=self.registry,
            buckets=SECONDS,
        )
        self.accepted = Counter("soupsearch_jobs_accepted", "Jobs accepted by this process.", registry=self.registry)
        self.uploaded = Counter("soupsearch_uploaded_bytes", "Bytes of stored uploads.", registry=self.registry)
        free = Gauge("soupsearch_artifact_free_bytes", "Free space of the artifact store.", registry=self.registry)
        free.set_function(free_bytes)
        self.registry.register(JobsByStatus(count_jobs))

    def render(self) -> bytes:
        """All metrics in Prometheus's text format."""
        return generate_latest(self.registry)


class RequestMetrics:
    """Counts and times requests.

    Every label has few values, whatever clients request: the template of the route, and one value for all methods that
    HTTP does not define.
    """

    def __init__(self, app: ASGIApp, metrics: Metrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on and time its answer."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        status = 500
        begin = time.perf_counter()

        async def note(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        try:
            await self.app(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "unknown")
            method = scope["method"] if scope["method"] in METHODS else "other"
            self.metrics.requests.labels(method, route, status).inc()
            self.metrics.seconds.labels(method, route).observe(time.perf_counter() - begin)
