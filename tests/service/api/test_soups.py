"""Downloads of soups that a worker merges when they are asked for."""

import threading
from collections.abc import Callable, Iterator

import httpx2
import pytest

from service.artifacts import open_store
from service.connection import connect
from service.errors import NotFound, PantryNotFound
from service.jobs.keys import Keys
from service.jobs.merging import Merge, answer_next
from service.jobs.store import JobStore
from service.jobs.supervisors import SupervisorRegistry
from service.settings import Settings
from tests.driving import Driver
from tests.service.api.checks import problem

Worker = Callable[[Merge], None]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"verify_timeout": 20.0, "max_kept_soups": 2})


@pytest.fixture
def ended(job_id: str, driver: Driver) -> str:
    driver.start()
    driver.record(16)
    driver.succeed()
    return job_id


@pytest.fixture
def worker(settings: Settings, job_store: JobStore) -> Iterator[Worker]:
    """Starts a worker that merges by the function given."""
    stop = threading.Event()
    threads: list[threading.Thread] = []

    def serve(merge: Merge) -> None:
        with connect(settings) as client:
            registry = SupervisorRegistry(client, Keys(settings.redis_prefix))
            while not stop.is_set():
                registry.beat("tests")
                answer_next(client, settings, merge, timeout=0.2)

    def start(merge: Merge) -> None:
        SupervisorRegistry(job_store.redis, job_store.keys).beat("tests")
        threads.append(threading.Thread(target=serve, args=(merge,)))
        threads[-1].start()

    yield start
    stop.set()
    for thread in threads:
        thread.join()


def other_than_the_best(driver: Driver) -> int:
    return driver.ranked()[1].index


def test_a_soup_is_merged_once_and_kept(
    api: httpx2.Client, ended: str, driver: Driver, worker: Worker, settings: Settings
) -> None:
    merged: list[int] = []

    def merge(job_id: str, point: int) -> None:
        merged.append(point)
        driver.keep_model(point)

    worker(merge)
    point = other_than_the_best(driver)
    answers = [api.get(f"/jobs/{ended}/model", params={"point": point}) for _ in range(2)]
    model = driver.store.merged_model(ended, point)
    assert model is not None
    content = open_store(settings).read("models", model.sha256, "model.safetensors")
    for answer in answers:
        assert (answer.status_code, answer.content) == (200, content)
        assert answer.headers["etag"] == f'"{model.sha256}"'
        assert f"-{point}.safetensors" in answer.headers["content-disposition"]
    assert merged == [point]
    part = api.get(f"/jobs/{ended}/model", params={"point": point}, headers={"Range": "bytes=10-19"})
    assert (part.status_code, part.content) == (206, content[10:20])
    tag = {"If-None-Match": f'"{model.sha256}"'}
    assert api.get(f"/jobs/{ended}/model", params={"point": point}, headers=tag).status_code == 304
    archive = api.get(f"/jobs/{ended}/model", params={"point": point, "format": "timm"})
    assert archive.headers["content-type"] == "application/zip"
    assert model.sha256 in driver.store.in_use()["models"]
    assert api.delete(f"/jobs/{ended}").status_code == 204
    assert driver.store.in_use()["models"] == set()
    assert not driver.store.redis.exists(driver.store.keys.job_models(ended))


def test_the_results_own_soup_needs_no_worker(api: httpx2.Client, ended: str, driver: Driver) -> None:
    best = api.get(f"/jobs/{ended}/model", params={"point": driver.ranked()[0].index})
    assert best.headers["etag"] == api.head(f"/jobs/{ended}/model").headers["etag"]


def test_without_a_worker_the_answer_says_so_at_once(api: httpx2.Client, ended: str, driver: Driver) -> None:
    answer = api.get(f"/jobs/{ended}/model", params={"point": other_than_the_best(driver)})
    problem(answer, 503, "no_worker")
    assert "retry-after" in answer.headers


def test_failures_of_the_worker_are_told(api: httpx2.Client, ended: str, driver: Driver, worker: Worker) -> None:
    failures: list[Exception] = [PantryNotFound("there is no pantry 'fashion'"), RuntimeError("out of memory")]

    def merge(job_id: str, point: int) -> None:
        raise failures.pop(0)

    worker(merge)
    url, params = f"/jobs/{ended}/model", {"point": other_than_the_best(driver)}
    problem(api.get(url, params=params), 410, "expired")
    answer = api.get(url, params=params)
    problem(answer, 503, "merge_failed")
    assert "out of memory" not in answer.text


def test_a_job_keeps_so_many_soups_and_no_more(api: httpx2.Client, ended: str, driver: Driver, worker: Worker) -> None:
    worker(lambda job_id, point: driver.keep_model(point))
    first, second, third = (each.index for each in driver.ranked()[1:4])
    url = f"/jobs/{ended}/model"
    assert [api.get(url, params={"point": point}).status_code for point in (first, second)] == [200, 200]
    problem(api.get(url, params={"point": third}), 429, "quota_exceeded")
    assert api.get(url, params={"point": first}).status_code == 200


def test_what_is_no_soup_of_the_job_is_refused(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    problem(api.get(f"/jobs/{job_id}/model?point=0"), 404, "point_not_found", "point")
    problem(api.get(f"/jobs/{job_id}/model?point=best"), 409, "model_not_ready")
    problem(api.get(f"/jobs/{job_id}/model?point=worst"), 422, "invalid_request", "point")
    driver.start()
    driver.points[3] = driver.points[3].model_copy(update={"score": None, "nll": None, "finite": False})
    driver.points[4] = driver.points[4].model_copy(update={"score": None, "nll": None, "pruned": True})
    driver.record(16)
    driver.succeed()
    problem(api.get(f"/jobs/{job_id}/model?point=16"), 404, "point_not_found", "point")
    problem(api.get(f"/jobs/{job_id}/model?point=-1"), 422, "invalid_request", "point")
    for point, why in ((3, "has logits that are not finite"), (4, "was dropped before it had seen all images")):
        refusal = problem(api.get(f"/jobs/{job_id}/model?point={point}"), 422, "invalid_request", "point")
        assert why in refusal["detail"]
    problem(api.get("/jobs/none/model?point=0"), 404, "job_not_found")


def test_the_best_so_far_and_any_other_soup_can_be_had_while_the_job_runs(
    api: httpx2.Client, job_id: str, driver: Driver, worker: Worker
) -> None:
    worker(lambda _, point: driver.keep_model(point))
    url = f"/jobs/{job_id}/model"
    driver.start()
    driver.record(8)
    first, other = driver.ranked()[0].index, driver.ranked()[-1].index
    answers = {point: api.get(url, params={"point": point}) for point in ("best", first, other)}
    assert [answer.status_code for answer in answers.values()] == [200] * 3
    assert answers["best"].headers["etag"] == answers[first].headers["etag"] != answers[other].headers["etag"]
    assert f"-{first}.safetensors" in answers["best"].headers["content-disposition"]
    assert "point=best" in problem(api.get(url), 409, "model_not_ready")["detail"]
    driver.record(16)
    driver.succeed()
    assert api.get(url, params={"point": "best"}).headers["etag"] == api.get(url).headers["etag"]


def test_a_job_that_failed_has_no_soups_to_give(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    driver.start()
    driver.record(8)
    driver.fail()
    for point in ("best", 0):
        problem(api.get(f"/jobs/{job_id}/model", params={"point": point}), 409, "model_not_ready")


def test_a_search_that_begins_again_on_other_hardware_gives_no_soup_of_before(
    job_store: JobStore, job_id: str, driver: Driver
) -> None:
    driver.start()
    driver.record(8)
    driver.keep_model(0)
    before = driver.store.point(job_id, 1)
    assert driver.claim is not None
    job_store.start(job_id, driver.claim.attempt, 16, "another scope")
    assert job_store.merged_model(job_id, 0) is None
    assert job_store.in_use()["models"] == set()
    with pytest.raises(NotFound, match="has dropped point 1"):
        job_store.keep_model(job_id, before, driver.store_model(seed=2))
