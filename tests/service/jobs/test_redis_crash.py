"""Redis killed and restarted under the job store."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

from service.connection import connect
from service.jobs.events import JobEvents
from service.jobs.store import JobStore
from service.schemas.job import JobStatus
from service.settings import Settings
from soupsearch.embedded.redis import EmbeddedRedis
from tests.service.jobs.samples import SCOPE, point, result, submit
from tests.waiting import wait_until

POINTS = 120


def settings_of(server: EmbeddedRedis, folder: Path) -> Settings:
    return Settings(_env_file=None, data_dir=folder, redis_url=server.url, max_queued_jobs=10_000)


def test_nothing_accepted_is_lost_and_points_are_there_once(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, connect(settings_of(server, tmp_path)) as client:
        store = JobStore(client, settings_of(server, tmp_path))
        running = submit(store)
        claim = store.claim("worker")
        assert claim is not None
        store.start(running, 1, 1000, SCOPE)
        accepted, recorded = {running}, 0

        def has_recorded(least: int) -> bool:
            return recorded >= least

        def work() -> None:
            nonlocal recorded
            for index in range(POINTS):
                accepted.add(submit(store))
                recorded += store.record_points(running, 1, [point(index)])

        with ThreadPoolExecutor(1) as pool:
            working = pool.submit(work)
            for _ in range(2):
                wait_until(partial(has_recorded, recorded + 30))
                server.kill()
                server.start()
            working.result(timeout=60)

        assert {job.id for job in store.list(1000).items} == accepted
        assert [each.index for each in store.iter_points(running)] == list(range(POINTS))
        assert store.get(running).progress.done == POINTS
        store.finish(running, 1, JobStatus.SUCCEEDED, result())
        assert store.get(running).result == result()


def test_watchers_and_waiting_supervisors_come_back(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, connect(settings_of(server, tmp_path)) as client:
        settings = settings_of(server, tmp_path)
        store = JobStore(client, settings)
        job_id = submit(store)
        assert store.claim("worker") is not None

        async def watch() -> list[str]:
            events = JobEvents(settings)
            types: list[str] = [event.type async for event in events.follow(job_id)]
            await events.aclose()
            return types

        with ThreadPoolExecutor(2) as pool:
            watching = pool.submit(asyncio.run, watch())
            waiting = pool.submit(store.claim, "other", 10_000)
            wait_until(lambda: client.info("clients")["blocked_clients"] == 2)
            server.kill()
            server.start()
            wait_until(lambda: client.info("clients")["blocked_clients"] == 2)
            other = submit(store)
            store.finish(job_id, 1, JobStatus.CANCELLED)
            assert watching.result(timeout=20) == ["status", "status", "status", "end"]
            claim = waiting.result(timeout=20)
            assert claim is not None
            assert claim.job_id == other


def test_a_paused_job_is_paused_after_a_restart_and_goes_on_where_it_was(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, connect(settings_of(server, tmp_path)) as client:
        store = JobStore(client, settings_of(server, tmp_path))
        job_id = submit(store)
        assert store.claim("worker") is not None
        store.start(job_id, 1, 1000, SCOPE)
        store.record_points(job_id, 1, [point(index) for index in range(5)])
        paused = store.pause(job_id)
        server.kill()
        server.start()
        assert store.get(job_id) == paused
        assert store.claim("worker") is None
        store.resume(job_id)
        server.kill()
        server.start()
        claim = store.claim("worker")
        assert claim is not None
        assert (claim.job_id, claim.attempt) == (job_id, 2)
        assert [each.index for each in store.iter_points(job_id)] == list(range(5))
