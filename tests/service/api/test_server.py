"""The API as a process: what it prints, how it ends, and what it leaves when it is killed."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import httpx2
import pytest

from service.settings import Settings
from tests.serving import running_api
from tests.waiting import wait_until

Files = Callable[[str], list[str]]

PROGRAM = "from service.api.server import serve; from service.settings import get_settings; serve(get_settings())"


@pytest.fixture
def process(settings: Settings) -> Iterator["subprocess.Popen[str]"]:
    variables = {f"SOUPSEARCH_{name.upper()}": str(value) for name, value in settings.model_dump().items()}
    started = subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=os.environ | variables,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    yield started
    started.kill()
    started.communicate()


def first_line(process: "subprocess.Popen[str]") -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_it_prints_its_address_and_nothing_else(process: "subprocess.Popen[str]") -> None:
    url = first_line(process)
    assert httpx2.get(f"{url}/healthz").json() == {"status": "ok"}
    httpx2.get(f"{url}/nowhere")
    process.send_signal(signal.SIGTERM)
    output, log = process.communicate(timeout=60)
    assert output == ""
    assert "GET /nowhere" in log
    assert process.returncode in {0, -signal.SIGTERM}


def test_what_a_killed_process_leaves_is_swept(
    process: "subprocess.Popen[str]", settings: Settings, files: Files
) -> None:
    address = urlsplit(first_line(process))
    with socket.create_connection((address.hostname, address.port), timeout=30) as connection:
        connection.sendall(
            b"POST /adapt HTTP/1.1\r\nHost: localhost\r\nContent-Type: multipart/form-data; boundary=soup\r\n"
            b"Content-Length: 150000\r\n\r\n"
            b'--soup\r\nContent-Disposition: form-data; name="adaptation_set"; filename="a.zip"\r\n\r\n' + b"x" * 50_000
        )
        wait_until(lambda: files("staging") != [])
        process.kill()
        process.wait(timeout=30)
    assert files("staging") != []
    aged = settings.data_dir / "staging" / files("staging")[0]
    for path in [aged, *aged.iterdir()]:
        os.utime(path, (0, 0))
    with running_api(settings):
        wait_until(lambda: files("staging") == [])
    assert files("sets") == []


def test_it_listens_on_a_socket_that_it_is_given(settings: Settings) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        program = (
            "import socket; from service.api.server import serve; from service.settings import Settings;"
            f"settings = Settings(_env_file=None, data_dir={str(settings.data_dir)!r});"
            f"serve(settings, socket.socket(fileno={listener.fileno()}))"
        )
        process = subprocess.Popen(
            [sys.executable, "-c", program], pass_fds=[listener.fileno()], stdout=subprocess.PIPE, text=True
        )
        try:
            assert first_line(process) == f"http://127.0.0.1:{port}"
            assert httpx2.get(f"http://127.0.0.1:{port}/healthz").status_code == 200
        finally:
            process.terminate()
            process.communicate(timeout=60)
