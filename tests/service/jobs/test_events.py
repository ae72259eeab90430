import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

import pytest

from service.errors import Expired, InvalidRequest, JobNotFound
from service.jobs.events import JobEvents
from service.jobs.store import JobStore
from service.schemas.job import Event, JobStatus, JobWarning
from service.settings import Settings
from tests.service.jobs.samples import SCOPE, best, point, result, submit

T = TypeVar("T")


def run(settings: Settings, task: Callable[[JobEvents], Awaitable[T]]) -> T:
    async def with_events() -> T:
        events = JobEvents(settings)
        try:
            return await asyncio.wait_for(task(events), 20)
        finally:
            await events.aclose()

    return asyncio.run(with_events())


def all_events(settings: Settings, job_id: str, last: str | None = None) -> list[Event]:
    async def collect(events: JobEvents) -> list[Event]:
        return [event async for event in events.follow(job_id, last)]

    return run(settings, collect)


def whole_life(store: JobStore) -> str:
    job_id = submit(store)
    store.claim("worker")
    store.start(job_id, 1, 3, SCOPE)
    store.warn(job_id, 1, JobWarning(code="few_images", message="few"))
    store.record_points(job_id, 1, [point(0), point(1)], best(0.5), outcomes={0: "a", 1: "b"})
    store.record_points(job_id, 1, [point(2)], best(0.5), outcomes={2: "c"})
    store.set_phase(job_id, 1, "finalizing")
    store.finish(job_id, 1, JobStatus.SUCCEEDED, result())
    return job_id


def test_events_tell_the_whole_life_in_order(job_store: JobStore, settings: Settings) -> None:
    job_id = whole_life(job_store)
    events = all_events(settings, job_id)

    assert [event.type for event in events] == [
        *("status", "status", "progress", "warning"),
        *("point", "point", "best", "progress"),
        *("point", "progress"),
        *("status", "status", "end"),
    ]
    assert [event.data["status"] for event in events if event.type == "status"] == [
        "queued",
        "running",
        "finalizing",
        "succeeded",
    ]
    assert [event.data for event in events if event.type == "point"] == [
        point(index).model_dump(mode="json") for index in range(3)
    ]
    last = [event.data for event in events if event.type == "progress"][-1]
    assert (last["done"], last["total"]) == (3, 3)
    assert last["rate"] > 0


def test_following_resumes_after_any_event(job_store: JobStore, settings: Settings) -> None:
    job_id = whole_life(job_store)
    events = all_events(settings, job_id)

    for seen, event in enumerate(events, start=1):
        assert all_events(settings, job_id, event.id) == events[seen:]


def test_a_watcher_sees_what_happens_while_it_watches(job_store: JobStore, settings: Settings) -> None:
    job_id = submit(job_store)

    async def watch(events: JobEvents) -> list[str]:
        follower = events.follow(job_id)
        types: list[str] = [(await anext(follower)).type]
        await asyncio.to_thread(job_store.cancel, job_id)
        return types + [event.type async for event in follower]

    assert run(settings, watch) == ["status", "status", "end"]


def test_more_events_than_one_read_takes_all_arrive(job_store: JobStore, settings: Settings) -> None:
    job_id = submit(job_store)
    job_store.claim("worker")
    job_store.start(job_id, 1, 500, SCOPE)
    job_store.record_points(job_id, 1, [point(index) for index in range(500)])
    job_store.finish(job_id, 1, JobStatus.CANCELLED)

    events = all_events(settings, job_id)
    assert [event.data["index"] for event in events if event.type == "point"] == list(range(500))
    assert events[-1].type == "end"


@pytest.mark.parametrize("last", ["first", "1-2-3", "1;2", "-"])
def test_ids_that_no_event_has_are_refused(job_store: JobStore, settings: Settings, last: str) -> None:
    job_id = submit(job_store)
    with pytest.raises(InvalidRequest):
        all_events(settings, job_id, last)


def test_unknown_and_expired_jobs_have_no_events(job_store: JobStore, settings: Settings) -> None:
    with pytest.raises(JobNotFound):
        all_events(settings, "unknown")
    job_id = whole_life(job_store)
    job_store.redis.zadd(job_store.keys.expiries, {job_id: 1})
    job_store.sweep()
    with pytest.raises(Expired):
        all_events(settings, job_id)


def test_more_watchers_than_a_pool_has_by_default_see_the_end(job_store: JobStore, settings: Settings) -> None:
    job_id = submit(job_store)

    async def watch(events: JobEvents) -> list[str]:
        async def last(waiting: asyncio.Event) -> str:
            kinds = []
            async for event in events.follow(job_id):
                kinds.append(event.type)
                waiting.set()
            return kinds[-1]

        begun = [asyncio.Event() for _ in range(120)]
        watchers = [asyncio.ensure_future(last(each)) for each in begun]
        await asyncio.gather(*(each.wait() for each in begun))
        job_store.cancel(job_id)
        return await asyncio.gather(*watchers)

    assert run(settings, watch) == ["end"] * 120
