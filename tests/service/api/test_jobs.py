"""Looking at jobs, cancelling and deleting them."""

from collections.abc import Callable

import httpx2

from service.jobs.store import JobStore
from service.schemas.job import Job, JobPage
from service.settings import Settings
from tests.driving import Driver
from tests.inputs import image_zip
from tests.service.api.checks import problem
from tests.service.api.conftest import Post


def test_a_job_is_seen_through_its_life(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    queued = api.get(f"/jobs/{job_id}")
    driver.start()
    driver.record(32)
    running = api.get(f"/jobs/{job_id}")
    driver.record()
    result = driver.succeed()
    ended = api.get(f"/jobs/{job_id}")

    assert [answer.json()["status"] for answer in (queued, running, ended)] == ["queued", "running", "succeeded"]
    assert (int(queued.headers["retry-after"]), int(running.headers["retry-after"])) == (2, 1)
    assert "retry-after" not in ended.headers
    assert running.json()["progress"]["done"] == 32
    assert Job.model_validate(ended.json()).result == result
    assert ended.json()["expires_at"] > ended.json()["finished_at"]


def test_an_unchanged_job_is_not_sent_again(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    tag = api.get(f"/jobs/{job_id}").headers["etag"]
    unchanged = api.get(f"/jobs/{job_id}", headers={"If-None-Match": f'"other", W/{tag}'})
    driver.start()
    changed = api.get(f"/jobs/{job_id}", headers={"If-None-Match": tag})
    assert (unchanged.status_code, unchanged.content) == (304, b"")
    assert unchanged.headers["etag"] == tag
    assert unchanged.headers["retry-after"]
    assert changed.status_code == 200
    assert changed.headers["etag"] != tag


def test_the_tag_changes_with_the_place_in_the_queue(api: httpx2.Client, adapt: Post, driver: Driver) -> None:
    first, second = (adapt().json()["id"] for _ in range(2))
    before = api.get(f"/jobs/{second}")
    assert driver.start().id == first
    after = api.get(f"/jobs/{second}", headers={"If-None-Match": before.headers["etag"]})
    assert (before.json()["queue_position"], after.json()["queue_position"]) == (1, 0)


def test_jobs_are_listed_by_pages_newest_first(api: httpx2.Client, adapt: Post) -> None:
    ids = [adapt().json()["id"] for _ in range(5)]
    seen: list[str] = []
    after = None
    while True:
        params = {"limit": 2} | ({"after": after} if after else {})
        page = JobPage.model_validate(api.get("/jobs", params=params).json())
        seen += [job.id for job in page.items]
        after = page.next
        if after is None:
            break
    assert seen == ids[::-1]


def test_jobs_are_listed_by_status(api: httpx2.Client, adapt: Post, driver: Driver) -> None:
    ids = [adapt().json()["id"] for _ in range(2)]
    driver.start()
    listed = {
        status: [job["id"] for job in api.get("/jobs", params={"status": status}).json()["items"]]
        for status in ("running", "queued", "failed")
    }
    assert listed == {"running": [ids[0]], "queued": [ids[1]], "failed": []}


def test_an_unchanged_list_is_not_sent_again(api: httpx2.Client, job_id: str) -> None:
    tag = api.get("/jobs").headers["etag"]
    assert api.get("/jobs", headers={"If-None-Match": tag}).status_code == 304
    api.post(f"/jobs/{job_id}/cancel")
    assert api.get("/jobs", headers={"If-None-Match": tag}).status_code == 200


def test_queries_are_checked(api: httpx2.Client) -> None:
    for query, param in [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("status=lost", "status"),
        ("after=nothing", "after"),
    ]:
        problem(api.get(f"/jobs?{query}"), 422, "invalid_request", param)


def test_cancelling_is_idempotent(api: httpx2.Client, adapt: Post, driver: Driver) -> None:
    running, waiting = (adapt().json()["id"] for _ in range(2))
    driver.start()
    driver.record(16)
    statuses = {}
    for job_id in (running, waiting):
        answers = [api.post(f"/jobs/{job_id}/cancel") for _ in range(2)]
        assert [answer.status_code for answer in answers] == [202, 202]
        statuses[job_id] = [answer.json()["status"] for answer in answers]
    assert statuses == {running: ["cancelling"] * 2, waiting: ["cancelled"] * 2}

    driver.cancel()
    ended = api.post(f"/jobs/{running}/cancel").json()
    assert ended["status"] == "cancelled"
    assert ended["result"]["partial"]


def test_pausing_and_resuming_are_idempotent(api: httpx2.Client, adapt: Post, driver: Driver) -> None:
    running, waiting = (adapt().json()["id"] for _ in range(2))
    driver.start()
    driver.record(16)
    for call, status in (("pause", "paused"), ("resume", "queued")):
        for job_id in (running, waiting):
            answers = [api.post(f"/jobs/{job_id}/{call}") for _ in range(2)]
            assert [(answer.status_code, answer.json()["status"]) for answer in answers] == [(202, status)] * 2
            assert answers[0].json()["urls"][call] == f"/jobs/{job_id}/{call}"
            look = api.get(f"/jobs/{job_id}")
            assert "retry-after" in look.headers
            assert look.json()["progress"]["estimated_finish"] is None
        counted = sum(
            f'soupsearch_jobs{{status="{status}"}} 2.0' in line for line in api.get("/metrics").text.splitlines()
        )
        assert counted == 1
    assert api.get(f"/jobs/{running}/points").json()["items"]


def test_only_what_has_ended_is_deleted(api: httpx2.Client, job_id: str) -> None:
    problem(api.delete(f"/jobs/{job_id}"), 409, "job_not_finished")
    api.post(f"/jobs/{job_id}/cancel")
    gone = api.delete(f"/jobs/{job_id}")
    assert (gone.status_code, gone.content) == (204, b"")
    problem(api.get(f"/jobs/{job_id}"), 404, "job_not_found")
    problem(api.delete(f"/jobs/{job_id}"), 404, "job_not_found")


def test_no_call_knows_a_job_that_is_not_there(api: httpx2.Client) -> None:
    calls: list[Callable[[], httpx2.Response]] = [
        lambda: api.get("/jobs/none"),
        lambda: api.post("/jobs/none/cancel"),
        lambda: api.post("/jobs/none/pause"),
        lambda: api.post("/jobs/none/resume"),
        lambda: api.delete("/jobs/none"),
        lambda: api.get("/jobs/none/events"),
        lambda: api.get("/jobs/none/points"),
        lambda: api.get("/jobs/none/points?format=csv"),
        lambda: api.get("/jobs/none/model"),
        lambda: api.get("/jobs/none/view"),
    ]
    for call in calls:
        problem(call(), 404, "job_not_found")


def test_an_expired_job_is_told_from_one_that_never_was(
    api: httpx2.Client, job_id: str, job_store: JobStore, settings: Settings
) -> None:
    api.post(f"/jobs/{job_id}/cancel")
    job_store.redis.zadd(job_store.keys.expiries, {job_id: 0})
    assert list(job_store.sweep()) == [job_id]
    problem(api.get(f"/jobs/{job_id}"), 410, "expired")
    problem(api.get(f"/jobs/{job_id}/model"), 410, "expired")


def test_links_are_absolute_behind_a_public_address(settings: Settings, adapt: Post) -> None:
    settings.public_url = "https://soup.example.org"
    job = adapt(archive=image_zip(seed=4)).json()
    assert job["urls"]["self"] == f"https://soup.example.org/jobs/{job['id']}"
