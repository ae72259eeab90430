"""Names that the service answers to, wherever it listens."""

import socket
from collections.abc import Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

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


@pytest.fixture
def exposed(settings: Settings) -> Iterator[httpx2.Client]:
    """The service on all interfaces, as in a container."""
    settings.host = "0.0.0.0"  # noqa: S104 - what is tested
    with running_api(settings) as url, httpx2.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.mark.parametrize("host", ["evil.example", "192.0.2.7", "soup.lan.evil.example"])
def test_an_address_beyond_this_machine_opens_to_no_other_name(exposed: httpx2.Client, host: str) -> None:
    origin = {"Host": host, "Origin": f"http://{host}"}
    answer = problem(exposed.delete("/pantries/fashion", headers=origin), 421, "unknown_host", "Host")
    assert "SOUPSEARCH_ALLOWED_HOSTS" in answer["detail"]
    assert exposed.get("/jobs").status_code == 200


def test_names_can_be_allowed(settings: Settings) -> None:
    allowed = Settings(**settings.model_dump() | {"allowed_hosts": "Soup.lan, 192.0.2.7,2001:db8::1"})
    with running_api(allowed) as url, httpx2.Client(base_url=url) as client:
        for host in ("soup.lan", "SOUP.LAN:8000", "192.0.2.7:8000", "[2001:DB8::1]:8000", "localhost"):
            assert client.get("/jobs", headers={"Host": host}).status_code == 200, host
            answer = client.delete("/pantries/none", headers={"Host": host, "Origin": f"http://{host}"})
            problem(answer, 404, "pantry_not_found")
        for host in ("soup", "lan", "xsoup.lan", "soup.lan.evil.example", "192.0.2.8", ""):
            problem(client.get("/jobs", headers={"Host": host}), 421, "unknown_host")


def test_any_name_can_be_allowed(settings: Settings) -> None:
    with running_api(settings.model_copy(update={"allowed_hosts": "*"})) as url, httpx2.Client(base_url=url) as client:
        assert client.get("/jobs", headers={"Host": "soup.lan"}).status_code == 200
        origin = {"Host": "soup.lan", "Origin": "http://evil.example"}
        problem(client.delete("/pantries/fashion", headers=origin), 403, "cross_origin")


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/metrics"])
def test_probes_use_any_address_but_no_other_name(exposed: httpx2.Client, path: str) -> None:
    for host in ("127.0.0.1:8000", "172.18.0.3:8000", "[2001:db8::1]:8000"):
        assert exposed.get(path, headers={"Host": host}).status_code == 200, host
    for host in ("evil.example", "172.18.0.3.evil.example", "172.18.0.3@evil.example"):
        problem(exposed.get(path, headers={"Host": host}), 421, "unknown_host")
