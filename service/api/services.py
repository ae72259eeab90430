"""Shared objects of the routes, made on first use so that the API starts without Redis."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import Annotated

import anyio
from fastapi import Depends, Request
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from service.adaptation_sets.registry import SetRegistry
from service.api.metrics import Metrics
from service.api.waiting import WaitingRoom
from service.artifacts import open_store
from service.artifacts.store import ArtifactStore
from service.connection import connect
from service.jobs.events import MAX_WATCHERS, JobEvents
from service.jobs.keys import Keys
from service.jobs.merging import request_merge
from service.jobs.store import JobStore
from service.jobs.supervisors import SupervisorRegistry
from service.pantries.registry import PantryRegistry
from service.pantries.verification import request_verification
from service.schemas.job import JobStatus
from service.settings import Settings

PROBE_SECONDS = 2.0
MAX_CHECKS = 8
"""Number of uploaded pantries that may be unpacked or wait for a worker's check at once."""
MAX_MERGES = 8
"""Number of downloads that may wait for a worker at once."""


class Services:
    """The stores and registries of one application, and the event that tells open streams to end."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stopping = anyio.Event()
        self.checks = WaitingRoom(
            MAX_CHECKS, f"{MAX_CHECKS} uploaded pantries wait for their check already: send yours again in a minute"
        )
        self.merges = WaitingRoom(
            MAX_MERGES, f"{MAX_MERGES} downloads wait for their soups to be merged already: ask again"
        )
        self.watchers = WaitingRoom(
            MAX_WATCHERS, f"{MAX_WATCHERS} streams of events are open already: close one, or poll GET /jobs/{{job_id}}"
        )
        self.metrics = Metrics(self._count_jobs, self._free_bytes)

    @cached_property
    def redis(self) -> Redis:
        """The connection for commands; it survives a restart of Redis."""
        return connect(self.settings)

    @cached_property
    def probe(self) -> Redis:
        """A connection for health checks, which does not wait for Redis to come back."""
        return Redis.from_url(
            self.settings.redis_url,
            decode_responses=True,
            socket_timeout=PROBE_SECONDS,
            socket_connect_timeout=PROBE_SECONDS,
            retry=Retry(NoBackoff(), 0),
        )

    @cached_property
    def supervisors(self) -> SupervisorRegistry:
        """The registry of live supervisors."""
        return SupervisorRegistry(self.probe, Keys(self.settings.redis_prefix))

    @cached_property
    def events(self) -> JobEvents:
        """The events of jobs, on separate connections, since each stream blocks on one."""
        return JobEvents(self.settings)

    @cached_property
    def jobs(self) -> JobStore:
        """The jobs."""
        return JobStore(self.redis, self.settings)

    @cached_property
    def artifacts(self) -> ArtifactStore:
        """The files."""
        return open_store(self.settings)

    @cached_property
    def sets(self) -> SetRegistry:
        """The adaptation sets."""
        return SetRegistry(self.artifacts, self.settings)

    @cached_property
    def pantries(self) -> PantryRegistry:
        """The pantries."""
        return PantryRegistry(self.artifacts, self.settings)

    def verify(self, folder: Path) -> None:
        """Ask a worker whether timm can build the pantry staged in ``folder``."""
        request_verification(self.redis, self.settings, folder, self.stopping.is_set)

    def merge(self, job_id: str, point: int) -> None:
        """Let a worker merge the soup of a point."""
        request_merge(self.redis, self.settings, job_id, point, self.stopping.is_set)

    async def close(self) -> None:
        """Close all open connections."""
        for name in ("redis", "probe"):
            if name in self.__dict__:
                self.__dict__[name].close()
        if "events" in self.__dict__:
            await self.events.aclose()

    def _count_jobs(self) -> Mapping[JobStatus, int]:
        return JobStore(self.probe, self.settings).counts()

    def _free_bytes(self) -> int:
        return self.artifacts.free_bytes()


def get_services(request: Request) -> Services:
    """The services of the application that handles ``request``."""
    services: Services = request.app.state.services
    return services


Use = Annotated[Services, Depends(get_services)]
