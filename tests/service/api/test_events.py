"""Server-sent events: live, resumed, ended, and cut by a shutdown."""

import json
import threading
from collections.abc import Iterator
from queue import Queue
from typing import Any

import httpx2
import pytest

from service.schemas.pantry import Pantry
from service.settings import Settings
from tests.driving import Driver
from tests.inputs import Part, image_zip
from tests.service.api.checks import problem
from tests.service.api.conftest import Post
from tests.serving import running_server

Event = dict[str, Any]


def parse(lines: Iterator[str]) -> Iterator[Event]:
    event: Event = {}
    for line in lines:
        name, _, value = line.partition(": ")
        if line == "" and "data" in event:
            yield event
            event = {}
        elif name in {"id", "event"}:
            event[name] = value
        elif name == "data":
            event["data"] = json.loads(value)


def read(api: httpx2.Client, job_id: str, last: str | None = None) -> list[Event]:
    with api.stream("GET", f"/jobs/{job_id}/events", headers={"Last-Event-ID": last} if last else {}) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["cache-control"] == "no-store"
        return list(parse(answer.iter_lines()))


def test_events_are_streamed_up_to_the_end(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    driver.start()
    driver.warn("collapsed_midpoint", "linf and l2 do not mix")
    driver.record(32)
    driver.succeed()
    events = read(api, job_id)
    types = [event["event"] for event in events]
    assert types[-1] == "end"
    assert types.count("point") == 32
    assert {"status", "progress", "best", "warning"} <= set(types)
    assert events[-1]["data"]["status"] == "succeeded"


def test_a_stream_resumes_after_the_last_event(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    driver.start()
    driver.record(32)
    driver.succeed()
    events = read(api, job_id)
    middle = len(events) // 2
    assert read(api, job_id, last=events[middle]["id"]) == events[middle + 1 :]
    assert read(api, job_id, last=events[-1]["id"]) == []


def test_events_come_as_they_happen(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    with api.stream("GET", f"/jobs/{job_id}/events") as answer:
        events = parse(answer.iter_lines())
        assert next(events)["data"]["status"] == "queued"
        driver.start()
        assert next(event for event in events if event["event"] == "status")["data"]["status"] == "running"
        driver.record(16)
        assert next(event for event in events if event["event"] == "best")["data"]["score"] == driver.best().score
        api.post(f"/jobs/{job_id}/cancel")
        driver.cancel()
        assert [event["event"] for event in events][-1] == "end"


@pytest.mark.parametrize("last", ["yesterday", "9" * 20, "1-"])
def test_an_id_that_is_none_is_refused(api: httpx2.Client, job_id: str, last: str) -> None:
    answer = api.get(f"/jobs/{job_id}/events", headers={"Last-Event-ID": last})
    problem(answer, 422, "invalid_request", "last-event-id")


def test_quiet_streams_have_a_heartbeat(api: httpx2.Client, job_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("service.api.streams.HEARTBEAT_SECONDS", 0.1)
    with api.stream("GET", f"/jobs/{job_id}/events") as answer:
        assert any(line.startswith(":") for line in answer.iter_lines())


def test_an_open_stream_does_not_hold_the_shutdown(settings: Settings, pantry: Pantry, job_store: Any) -> None:
    ended: Queue[bool] = Queue()
    with running_server(settings) as (server, thread), httpx2.Client(base_url=server.url, timeout=60) as client:
        job_id = submit(client)
        opened = threading.Event()

        def watch() -> None:
            with client.stream("GET", f"/jobs/{job_id}/events") as answer:
                lines = answer.iter_lines()
                next(lines)
                opened.set()
                ended.put(all(not line.startswith("event: end") for line in lines))

        watcher = threading.Thread(target=watch)
        watcher.start()
        assert opened.wait(30)
        server.should_exit = True
        assert ended.get(timeout=8)
        thread.join(timeout=8)
        assert not thread.is_alive()
        watcher.join()


def submit(client: httpx2.Client) -> str:
    parts: dict[str, Part] = {"request": (None, '{"pantry": "fashion"}'), "adaptation_set": ("a.zip", image_zip())}
    return str(client.post("/adapt", files=parts).json()["id"])


def test_many_watchers_see_the_same(api: httpx2.Client, adapt: Post, driver: Driver) -> None:
    job_id = adapt().json()["id"]
    driver.start()
    driver.record(16)
    seen: Queue[list[Event]] = Queue()
    watchers = [threading.Thread(target=lambda: seen.put(read(api, job_id))) for _ in range(5)]
    for watcher in watchers:
        watcher.start()
    driver.succeed()
    for watcher in watchers:
        watcher.join(timeout=30)
    streams = [seen.get(timeout=1) for _ in watchers]
    assert all(stream == streams[0] for stream in streams)
    assert streams[0][-1]["event"] == "end"
