"""Names that the service answers to, through real HTTP."""

import socket
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.testclient import TestClient

from service.api.app import create_app
from service.settings import Settings
from tests.service.api.checks import problem
from tests.serving import running_api

FOREIGN = (
    "evil.example",
    "evil.example:8000",
    "localhost.evil.example",
    "127.0.0.1.evil.example",
    "evil@localhost",
    "192.0.2.7",
    "0.0.0.0:8000",
    "[2001:db8::1]:8000",
    "[",
    "[localhost]",
    "",
)


@pytest.mark.parametrize("host", FOREIGN)
def test_a_name_that_leads_here_by_rebinding_is_refused(api: httpx2.Client, host: str) -> None:
    origin = {"Host": host, "Origin": f"http://{host}"}
    problem(api.get("/jobs", headers={"Host": host}), 421, "unknown_host", "Host")
    problem(api.post("/jobs/x/cancel", headers=origin), 421, "unknown_host", "Host")
    problem(api.get("/", headers={"Host": host}), 421, "unknown_host", "Host")


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8000", "127.0.0.2", "[::1]:8000"])
def test_this_machine_is_known_by_any_port(api: httpx2.Client, host: str) -> None:
    assert api.get("/healthz", headers={"Host": host}).status_code == 200
    answer = api.post("/jobs/x/cancel", headers={"Host": host, "Origin": f"http://{host}"})
    problem(answer, 404, "job_not_found")


def test_a_refused_upload_gets_its_answer(api: httpx2.Client) -> None:
    answer = api.post("/adapt", headers={"Host": "evil.example"}, files={"adaptation_set": ("a.zip", b"x" * 150_000)})
    problem(answer, 421, "unknown_host")


def test_a_request_without_a_name_is_refused(api: httpx2.Client) -> None:
    address = urlsplit(str(api.base_url))
    with socket.create_connection((str(address.hostname), int(address.port or 0)), timeout=30) as connection:
        connection.sendall(b"GET /jobs HTTP/1.0\r\n\r\n")
        answer = connection.makefile("rb").read()
    assert answer.split(b" ", 2)[1] == b"421"


def test_the_public_name_is_known(settings: Settings) -> None:
    behind = settings.model_copy(update={"public_url": "https://Soup.example.org/adapt"})
    with running_api(behind) as url, httpx2.Client(base_url=url) as client:
        assert client.get("/healthz", headers={"Host": "soup.example.org"}).status_code == 200
        problem(client.get("/healthz", headers={"Host": "example.org"}), 421, "unknown_host")


def test_any_name_is_known_beyond_this_machine(settings: Settings) -> None:
    app = create_app(settings.model_copy(update={"host": "192.0.2.1"}))
    with TestClient(app, "http://soup.lan") as client:
        assert client.get("/healthz").status_code == 200
