"""Calls that wait for a worker or an event are bounded, and keep nobody else from an answer."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2
import pytest

from service.api.app import create_app
from service.jobs import merging
from service.jobs.store import JobStore
from service.jobs.supervisors import SupervisorRegistry
from service.pantries import verification
from service.schemas.pantry import Pantry
from service.settings import Settings
from tests.driving import Driver
from tests.inputs import Part, pantry_zip
from tests.service.api.checks import problem
from tests.service.api.conftest import Post
from tests.serving import running_api, running_server
from tests.waiting import wait_until

Call = Callable[[httpx2.AsyncClient, int], Awaitable[httpx2.Response]]
Work = Callable[[], None]

ROOM = 2
SHARED_THREADS = 2


@pytest.fixture(autouse=True)
def small_rooms(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("MAX_CHECKS", "MAX_MERGES", "MAX_WATCHERS"):
        monkeypatch.setattr(f"service.api.services.{name}", ROOM)


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"verify_timeout": 20.0, "max_pantry_bytes": 10**6})


@pytest.fixture
def archive(tmp_path: Path) -> bytes:
    return pantry_zip(tmp_path / "in")


def add(archive: bytes) -> Call:
    async def call(client: httpx2.AsyncClient, place: int) -> httpx2.Response:
        files: dict[str, Part] = {"request": (None, json.dumps({"name": f"new-{place}"})), "pantry": ("p.zip", archive)}
        return await client.post("/pantries", files=files)

    return call


@asynccontextmanager
async def client_of(settings: Settings) -> AsyncIterator[httpx2.AsyncClient]:
    """The API in this event loop, with few threads that all calls share."""
    anyio.to_thread.current_default_thread_limiter().total_tokens = SHARED_THREADS
    transport = httpx2.ASGITransport(app=create_app(settings))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        yield client


async def crowd(settings: Settings, store: JobStore, questions: str, call: Call, answer: Work) -> list[httpx2.Response]:
    """Make calls until all places are taken, then a call of another kind and one more, then have ``answer`` work.

    Returns the answers: of the other kind, of the one more, and of those that waited.
    """
    waited: list[httpx2.Response] = []

    async def wait(client: httpx2.AsyncClient, place: int) -> None:
        waited.append(await call(client, place))

    async with client_of(settings) as client:
        with anyio.fail_after(30):
            async with anyio.create_task_group() as tasks:
                for place in range(ROOM):
                    tasks.start_soon(wait, client, place)
                await anyio.to_thread.run_sync(lambda: wait_until(lambda: store.redis.llen(questions) == ROOM, 25))
                other, refused = await client.get("/jobs"), await call(client, ROOM)
                for _ in range(ROOM):
                    await anyio.to_thread.run_sync(answer, limiter=anyio.CapacityLimiter(1))
        return [other, refused, *waited]


def check_refused(other: httpx2.Response, refused: httpx2.Response) -> None:
    assert other.status_code == 200
    problem(refused, 503, "busy")
    assert int(refused.headers["retry-after"]) >= 1


@pytest.mark.usefixtures("pantry")
def test_pantries_that_wait_for_their_check_are_bounded(
    settings: Settings, job_store: JobStore, archive: bytes
) -> None:
    def work() -> None:
        verification.answer_next(job_store.redis, settings, lambda _: None, timeout=10)

    other, refused, *waited = anyio.run(crowd, settings, job_store, job_store.keys.checks, add(archive), work)
    check_refused(other, refused)
    assert [answer.status_code for answer in waited] == [201] * ROOM


def test_downloads_that_wait_for_their_soup_are_bounded(
    settings: Settings, job_store: JobStore, job_id: str, driver: Driver
) -> None:
    driver.start()
    driver.record(16)
    driver.succeed()
    SupervisorRegistry(job_store.redis, job_store.keys).beat("tests")
    points = [each.index for each in driver.ranked()[1 : ROOM + 2]]

    async def call(client: httpx2.AsyncClient, place: int) -> httpx2.Response:
        return await client.get(f"/jobs/{job_id}/model", params={"point": points[place]})

    def merge(job_id: str, point: int) -> None:
        driver.keep_model(point)

    def work() -> None:
        merging.answer_next(job_store.redis, settings, merge, timeout=10)

    other, refused, *waited = anyio.run(crowd, settings, job_store, job_store.keys.merges, call, work)
    check_refused(other, refused)
    assert [answer.status_code for answer in waited] == [200] * ROOM


@pytest.mark.usefixtures("pantry")
def test_a_pantry_is_refused_before_its_upload_and_taken_when_others_have_gone(
    settings: Settings, job_store: JobStore, archive: bytes
) -> None:
    settings.verify_timeout = 0.1

    async def refuse() -> httpx2.Response:
        async def never() -> AsyncIterator[bytes]:
            yield pytest.fail("the body was read")

        app, patient = create_app(settings), {"Expect": "100-continue"}
        transport = httpx2.ASGITransport(app=app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
            with app.state.services.checks.place(), app.state.services.checks.place():
                problem(await client.post("/pantries", content=never(), headers=patient), 503, "busy")
            return await add(archive)(client, 0)

    problem(anyio.run(refuse), 503, "no_worker")


@pytest.mark.usefixtures("pantry")
def test_a_call_that_waits_does_not_hold_the_shutdown(settings: Settings, job_store: JobStore, archive: bytes) -> None:
    with running_server(settings) as (server, thread), ThreadPoolExecutor(1) as pool:
        files: dict[str, Part] = {"request": (None, '{"name": "new"}'), "pantry": ("p.zip", archive)}
        waiting = pool.submit(httpx2.post, f"{server.url}/pantries", files=files, timeout=60)
        wait_until(lambda: job_store.redis.llen(job_store.keys.checks) == 1)
        server.should_exit = True
        thread.join(timeout=8)
        assert not thread.is_alive()
        problem(waiting.result(), 503, "stopping")
    assert job_store.redis.llen(job_store.keys.checks) == 0


def test_streams_of_events_are_bounded(settings: Settings, pantry: Pantry, adapt: Post) -> None:
    url = f"/jobs/{adapt().json()['id']}/events"
    with running_api(settings) as base, httpx2.Client(base_url=base, timeout=30) as client:
        with client.stream("GET", url) as first, client.stream("GET", url) as second:
            streams = [first.iter_lines(), second.iter_lines()]
            assert all(next(stream).startswith("id:") for stream in streams)
            with client.stream("GET", url) as third:
                assert third.status_code == 503
                third.read()
                problem(third, 503, "busy")
                assert third.headers["retry-after"]
            assert client.get(url.removesuffix("/events")).status_code == 200
        client.post(url.replace("events", "cancel"))
        wait_until(lambda: "event: end" in client.get(url).text)
