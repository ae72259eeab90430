"""The framework's own errors, and safe headers on every answer."""

import socket
from urllib.parse import urlsplit

import httpx2
import pytest

from service.api.app import create_app
from service.settings import Settings
from tests.service.api.checks import problem
from tests.serving import running_api


def test_an_unknown_address_is_a_problem(api: httpx2.Client) -> None:
    for path in ("/nowhere", "/jobs/", "/static/none.js", "/static/lib/none.js", "/static/../site.py", "/redoc"):
        problem(api.get(path), 404, "route_not_found")


def test_another_method_is_a_problem_that_names_the_right_ones(api: httpx2.Client) -> None:
    answer = api.put("/jobs")
    problem(answer, 405, "method_not_allowed")
    assert answer.headers["allow"] == "GET"


def test_a_failure_of_the_service_tells_nothing_of_its_inside(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    from starlette.testclient import TestClient

    app = create_app(settings)
    monkeypatch.setattr(app.state.services, "__dict__", {**app.state.services.__dict__, "pantries": None})
    with TestClient(app, "http://localhost", raise_server_exceptions=False) as client:
        answer = client.get("/pantries")
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["code"] == "internal_error"
    assert "NoneType" not in answer.text


def test_every_answer_has_safe_headers(api: httpx2.Client) -> None:
    for path in ("/healthz", "/jobs", "/nowhere", "/", "/docs", "/static/css/site.css", "/openapi.json"):
        headers = api.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "no-referrer"
        policy = headers["content-security-policy"]
        assert policy.startswith("default-src 'none'")
        assert "unsafe" not in policy
        assert "server" not in headers


def test_other_sites_cannot_write(api: httpx2.Client) -> None:
    own = str(api.base_url).rstrip("/")
    problem(api.post("/jobs/x/cancel", headers={"Origin": "https://evil.example"}), 403, "cross_origin", "Origin")
    problem(api.post("/jobs/x/cancel", headers={"Origin": "null"}), 403, "cross_origin")
    problem(api.post("/jobs/x/cancel", headers={"Origin": "http://["}), 403, "cross_origin")
    problem(api.post("/jobs/x/cancel", headers={"Origin": own}), 404, "job_not_found")
    assert api.get("/jobs", headers={"Origin": "https://evil.example"}).status_code == 200


def test_pages_behind_a_proxy_can_write(settings: Settings) -> None:
    behind = settings.model_copy(update={"public_url": "https://soup.example.org"})
    with running_api(behind) as url, httpx2.Client(base_url=url) as client:
        problem(client.post("/jobs/x/cancel", headers={"Origin": "https://soup.example.org"}), 404, "job_not_found")
        problem(client.post("/jobs/x/cancel", headers={"Origin": "https://example.org"}), 403, "cross_origin")


def test_the_answer_names_the_address(api: httpx2.Client) -> None:
    assert problem(api.get("/jobs/none"), 404, "job_not_found")["instance"] == "/jobs/none"


def test_what_is_not_http_is_closed(api: httpx2.Client) -> None:
    address = urlsplit(str(api.base_url))
    with socket.create_connection((address.hostname, address.port), timeout=10) as connection:
        connection.sendall(b"\x16\x03\x01 no http\r\n\r\n")
        assert connection.recv(100).startswith(b"HTTP/1.1 400")
    assert api.get("/healthz").status_code == 200


@pytest.mark.parametrize(
    ("search", "told"),
    [
        ({"strategy": "auto", "prune": True}, "search.prune: prune belongs to grid, not to auto: choose another"),
        ({"strategy": "grid", "p": 0.1}, "search.p: p belongs to race, not to grid"),
        ({"strategy": "race", "batch": 8}, "search.batch: batch belongs to bayes, not to race"),
        ({"strategy": "grid", "continuous": True}, "search.continuous: continuous belongs to bayes, not to grid"),
        ({"strategy": "bayes", "continuous": True, "step": 0.1}, "search: a continuous search takes no step"),
        ({"strategy": "grid", "pruned": True}, "search.pruned is no field here"),
        ({"strategy": "raze"}, "search: There is no strategy 'raze'. Choose one of auto, bayes, "),
    ],
)
def test_a_field_of_another_strategy_is_told_from_a_misspelt_one(
    api: httpx2.Client, search: dict[str, object], told: str
) -> None:
    answer = api.post("/adapt", json={"pantry": "fashion", "search": search})
    assert problem(answer, 422, "invalid_request")["detail"].startswith(told)


@pytest.mark.parametrize(
    ("fields", "told", "param"),
    [
        (
            {"search": {"budget": {"seconds": -1}}},
            "search.budget.seconds must be greater than 0, not -1.",
            "search.budget.seconds",
        ),
        (
            {"constraints": [{"at_least": 85}]},
            "constraints.0.at_least must be at most 1 (a fraction): 85 % is 0.85.",
            "constraints.0.at_least",
        ),
        ({"seed": -1, "top_k": 0}, "top_k must be at least 1, not 0. (1 more field at fault.)", "top_k"),
    ],
)
def test_a_field_out_of_bounds_is_told_in_plain_words(
    api: httpx2.Client, fields: dict[str, object], told: str, param: str
) -> None:
    answer = api.post("/adapt", json={"pantry": "fashion"} | fields)
    assert problem(answer, 422, "invalid_request", param)["detail"] == told


def test_a_parameter_out_of_bounds_is_told_in_plain_words(api: httpx2.Client) -> None:
    refused = problem(api.get("/jobs?limit=1000"), 422, "invalid_request", "limit")
    assert refused["detail"] == "limit must be at most 200, not 1000."


@pytest.mark.parametrize("body", ["{", ""])
def test_what_is_not_json_is_told(api: httpx2.Client, body: str) -> None:
    answer = api.post("/adapt", content=body, headers={"Content-Type": "application/json"})
    assert problem(answer, 400, "malformed_body")["detail"].startswith("The body is not JSON: EOF while parsing")
