"""The points of a job."""

import csv
import io

import httpx2
import pytest

from service.schemas.job import PointPage
from tests.driving import Driver
from tests.service.api.checks import problem
from tests.service.api.conftest import NAMES


@pytest.fixture
def searched(job_id: str, driver: Driver) -> str:
    driver.start()
    driver.record()
    driver.succeed()
    return job_id


def test_pages_list_every_point_once(api: httpx2.Client, searched: str, driver: Driver) -> None:
    points = []
    after = None
    while True:
        params = {"limit": 200} | ({} if after is None else {"after": after})
        page = PointPage.model_validate(api.get(f"/jobs/{searched}/points", params=params).json())
        points += page.items
        after = page.next
        if after is None:
            break
    assert len(points) == 480
    assert points == driver.points


def test_csv_has_a_row_for_each_point(api: httpx2.Client, searched: str, driver: Driver) -> None:
    answers = [
        api.get(f"/jobs/{searched}/points", headers={"Accept": "text/csv"}),
        api.get(f"/jobs/{searched}/points?format=csv", headers={"Accept": "application/json"}),
    ]
    for answer in answers:
        assert answer.headers["content-type"] == "text/csv; charset=utf-8"
        assert f"points-{searched}.csv" in answer.headers["content-disposition"]
        rows = list(csv.DictReader(io.StringIO(answer.text)))
        assert [int(row["index"]) for row in rows] == list(range(480))
        weights = [[float(row[f"weight_{name}"]) for name in NAMES] for row in rows]
        assert weights == [point.weights for point in driver.points]
        assert {row["finite"] for row in rows} == {"true"}


def test_json_is_the_default(api: httpx2.Client, searched: str) -> None:
    answer = api.get(f"/jobs/{searched}/points?format=json", headers={"Accept": "text/csv"})
    assert answer.headers["content-type"] == "application/json"
    assert api.get(f"/jobs/{searched}/points").headers["content-type"] == "application/json"


def test_a_job_that_waits_has_none(api: httpx2.Client, job_id: str) -> None:
    assert api.get(f"/jobs/{job_id}/points").json() == {"items": [], "next": None}
    assert len(api.get(f"/jobs/{job_id}/points?format=csv").text.splitlines()) == 1


def test_queries_are_checked(api: httpx2.Client, job_id: str) -> None:
    for query, param in [("limit=0", "limit"), ("limit=10001", "limit"), ("after=-1", "after"), ("format=x", "format")]:
        problem(api.get(f"/jobs/{job_id}/points?{query}"), 422, "invalid_request", param)
