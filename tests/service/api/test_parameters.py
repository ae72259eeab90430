"""Query parameters: no call takes one that it does not know."""

import re
from typing import Any

import httpx2
import pytest
from starlette.routing import Mount

from service.api.app import create_app
from service.settings import Settings
from tests.service.api.checks import problem
from tests.service.api.conftest import Post

FILES = ["/openapi.json", "/static/css/site.css", "/static/lib/plotly.min.js"]


@pytest.fixture
def calls(api: httpx2.Client) -> dict[tuple[str, str], set[str]]:
    """Method and address of every call that is described, with the parameters that it takes."""
    paths: dict[str, dict[str, Any]] = api.get("/openapi.json").json()["paths"]
    return {
        (method.upper(), re.sub(r"\{\w+\}", "none", path)): {
            each["name"] for each in operation.get("parameters", []) if each["in"] == "query"
        }
        for path, methods in paths.items()
        for method, operation in methods.items()
    }


def test_every_call_refuses_a_parameter_that_it_does_not_know(
    api: httpx2.Client, calls: dict[tuple[str, str], set[str]], settings: Settings
) -> None:
    mounted = {route.path for route in create_app(settings).routes if isinstance(route, Mount)}
    assert all(any(file.startswith(f"{path}/") for file in FILES) for path in mounted)
    assert len(calls) > 20
    for (method, path), known in {**calls, **{("GET", file): set() for file in FILES}}.items():
        answer = api.request(method, path, params={"fromat": "timm"})
        assert answer.status_code == 422, (method, path)
        if method != "HEAD":
            detail = problem(answer, 422, "invalid_request", "fromat")["detail"]
            assert "'fromat'" in detail
            assert all(name in detail for name in known), detail


def test_every_call_takes_its_own_parameters(api: httpx2.Client, calls: dict[tuple[str, str], set[str]]) -> None:
    taken = [(method, path, name) for (method, path), known in calls.items() for name in known if method != "HEAD"]
    assert ("GET", "/jobs/none/model", "format") in taken
    for method, path, name in taken:
        assert "no query parameter" not in api.request(method, path, params={name: "1"}).text
    for file in FILES[1:]:
        assert api.get(file, params={"v": "1"}).status_code == 200


def test_a_parameter_given_twice_is_refused(api: httpx2.Client) -> None:
    for query in ("limit=1&limit=2", "limit=1&limit=1"):
        assert "twice" in problem(api.get(f"/jobs?{query}"), 422, "invalid_request", "limit")["detail"]


@pytest.mark.parametrize("query", ["fromat", "Format=timm", "=timm", "format=timm&x=", "%66romat=timm"])
def test_a_misspelt_parameter_is_refused_however_it_is_written(api: httpx2.Client, job_id: str, query: str) -> None:
    answer = problem(api.get(f"/jobs/{job_id}/model?{query}"), 422, "invalid_request")
    assert "format, point" in answer["detail"]


def test_a_refused_parameter_leaves_no_job(api: httpx2.Client, adapt: Post) -> None:
    problem(adapt(params={"dryrun": "true"}), 422, "invalid_request", "dryrun")
    assert api.get("/jobs").json()["items"] == []
