"""Uploads as bytes on the wire: limits, broken bodies, callers who go away."""

import hashlib
import json
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from itertools import pairwise
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

import anyio
import httpx2
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.requests import Request

from service.api.multipart import read_form
from service.errors import MalformedBody
from service.settings import Settings
from tests.inputs import Part, image_zip
from tests.service.api.checks import problem
from tests.waiting import wait_until

Files = Callable[[str], list[str]]
Connect = Callable[[], socket.socket]

BOUNDARY = "soup"
HEAD = f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="adaptation_set"; filename="a.zip"\r\n\r\n'.encode()
TAIL = f"\r\n--{BOUNDARY}--\r\n".encode()


def headers(*more: str, path: str = "/adapt") -> bytes:
    lines = [
        f"POST {path} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: multipart/form-data; boundary={BOUNDARY}",
        *more,
    ]
    return "\r\n".join([*lines, "", ""]).encode()


@pytest.fixture
def connect(api: httpx2.Client) -> Iterator[Connect]:
    address = urlsplit(str(api.base_url))
    opened = []

    def make() -> socket.socket:
        opened.append(socket.create_connection((address.hostname, address.port), timeout=10))
        return opened[-1]

    yield make
    for each in opened:
        each.close()


def read_answer(connection: socket.socket) -> tuple[int, dict[str, object]]:
    received = b""
    while b"\r\n\r\n" not in received:
        received += connection.recv(65536)
    head, _, body = received.partition(b"\r\n\r\n")
    fields = dict(line.lower().split(b": ", 1) for line in head.split(b"\r\n")[1:])
    while len(body) < int(fields[b"content-length"]):
        body += connection.recv(65536)
    return int(head.split()[1]), json.loads(body)


def test_a_body_announced_too_long_is_refused_before_it_is_sent(connect: Connect, files: Files) -> None:
    connection = connect()
    connection.sendall(headers("Content-Length: 2000000000", "Expect: 100-continue"))
    status, document = read_answer(connection)
    assert (status, document["code"]) == (413, "too_large")
    assert files("staging") == []


def test_the_refusal_reaches_a_caller_that_keeps_sending(connect: Connect) -> None:
    connection = connect()
    connection.sendall(headers("Content-Length: 8000000") + HEAD)
    connection.sendall(b"x" * 4_000_000)
    status, document = read_answer(connection)
    assert (status, document["code"]) == (413, "too_large")


def test_a_chunked_body_is_refused_at_the_limit(connect: Connect, files: Files) -> None:
    connection = connect()
    connection.sendall(headers("Transfer-Encoding: chunked"))
    chunk = HEAD + b"x" * 300_000
    connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
    status, document = read_answer(connection)
    assert (status, document["code"], document["param"]) == (413, "too_large", "adaptation_set")
    wait_until(lambda: files("staging") == [])


def test_an_upload_that_breaks_off_leaves_nothing(connect: Connect, files: Files) -> None:
    connection = connect()
    connection.sendall(headers("Content-Length: 150000") + HEAD + b"x" * 70_000)
    wait_until(lambda: files("staging") != [])
    connection.close()
    wait_until(lambda: files("staging") == [])
    assert files("sets") == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        HEAD + b"never ends",
        b"--other\r\n\r\n--other--",
        b"no multipart at all",
        HEAD + b"1" + TAIL[:-4] + b"\r\n" + HEAD.split(b"\r\n", 1)[1] + b"2" + TAIL,
        HEAD.replace(b"adaptation_set", b"surprise") + b"1" + TAIL,
        HEAD.replace(b'; name="adaptation_set"', b"") + b"1" + TAIL,
        HEAD + b"the request is missing" + TAIL,
    ],
)
def test_a_broken_form_is_refused(connect: Connect, files: Files, body: bytes) -> None:
    connection = connect()
    connection.sendall(headers(f"Content-Length: {len(body)}") + body)
    status, document = read_answer(connection)
    assert (status, document["code"]) == (400, "malformed_body")
    assert files("staging") == []


def test_a_form_without_boundary_is_refused(api: httpx2.Client) -> None:
    answer = api.post("/adapt", content=b"x", headers={"content-type": "multipart/form-data"})
    problem(answer, 400, "malformed_body", "Content-Type")


def test_a_json_body_is_limited(api: httpx2.Client) -> None:
    body = b'{"pantry": "' + b"x" * 2_000_000 + b'"}'
    problem(api.post("/adapt", content=body, headers={"content-type": "application/json"}), 413, "too_large")


def test_a_full_disk_is_told_before_the_upload(settings: Settings, api: httpx2.Client) -> None:
    settings.min_free_bytes = 2**60
    parts: dict[str, Part] = {"request": (None, '{"pantry": "fashion"}'), "adaptation_set": ("a.zip", image_zip())}
    problem(api.post("/adapt", files=parts), 507, "storage_full")


@pytest.mark.parametrize("path", ["/adapt", "/adaptation-sets", "/pantries"])
def test_a_body_announced_longer_than_the_disk_is_refused_before_it_is_sent(
    settings: Settings, connect: Connect, files: Files, path: str
) -> None:
    settings.max_upload_bytes = settings.max_pantry_bytes = 2**60
    connection = connect()
    connection.sendall(headers(f"Content-Length: {2**59}", "Expect: 100-continue", path=path))
    status, document = read_answer(connection)
    assert (status, document["code"]) == (507, "storage_full")
    assert files("staging") == []


def test_a_body_of_unknown_length_is_refused_once_the_disk_is_full(
    settings: Settings, connect: Connect, files: Files
) -> None:
    settings.max_upload_bytes = 2**30
    connection = connect()
    connection.sendall(headers("Transfer-Encoding: chunked"))
    chunk = HEAD + b"x" * 2**21
    connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
    wait_until(lambda: any(path.stat().st_size for path in settings.data_dir.glob("staging/*/*.part")))
    settings.min_free_bytes = 2**60
    connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
    status, document = read_answer(connection)
    assert (status, document["code"]) == (507, "storage_full")
    wait_until(lambda: files("staging") == [])


def test_an_upload_is_not_hashed(tmp_path: Path) -> None:
    hashed: list[int] = []

    def watch(_frame: FrameType, event: str, called: object) -> None:
        if event == "c_call" and type(getattr(called, "__self__", None)).__name__ == "HASH":
            hashed.append(1)

    threading.setprofile(watch)
    sys.setprofile(watch)
    try:
        form = anyio.run(receive, form_of(b"x" * 4000), [100], tmp_path)
        assert hashed == []
        hashlib.sha256().update(b"")
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    assert form[2] == 4000
    assert hashed


@given(
    content=st.binary(max_size=400).map(lambda data: data.replace(b"\x01", f"\r\n--{BOUNDARY}".encode()[:-1])),
    sizes=st.lists(st.integers(1, 60), min_size=1, max_size=40),
)
def test_parts_arrive_whole_however_the_body_is_cut(
    tmp_path_factory: pytest.TempPathFactory, content: bytes, sizes: list[int]
) -> None:
    folder = tmp_path_factory.mktemp("form")
    form = anyio.run(receive, form_of(content), sizes, folder)
    assert form == (b"{}", content, len(content))


def form_of(content: bytes) -> bytes:
    return b'--soup\r\nContent-Disposition: form-data; name="request"\r\n\r\n{}\r\n' + HEAD + content + TAIL


async def receive(body: bytes, sizes: list[int], folder: Path) -> tuple[bytes, bytes, int]:
    form = await read_form(request_of(body, sizes), folder, {"request": 100}, {"adaptation_set": 4000}, lambda _: None)
    file = form.files["adaptation_set"]
    return form.fields["request"], file.path.read_bytes(), file.size


def request_of(body: bytes, sizes: list[int]) -> Request:
    places = [0]
    while places[-1] < len(body):
        places.append(places[-1] + sizes[len(places) % len(sizes)])
    pieces = [body[begin:end] for begin, end in pairwise(places)]
    messages = iter([{"type": "http.request", "body": piece, "more_body": True} for piece in pieces])

    async def take() -> dict[str, object]:
        return next(messages, {"type": "http.request", "body": b"", "more_body": False})

    content_type = f"multipart/form-data; boundary={BOUNDARY}".encode()
    return Request({"type": "http", "method": "POST", "headers": [(b"content-type", content_type)]}, take)


@given(body=st.binary(max_size=300))
def test_no_body_breaks_the_parser(tmp_path_factory: pytest.TempPathFactory, body: bytes) -> None:
    folder = tmp_path_factory.mktemp("form")
    with pytest.raises(MalformedBody):
        anyio.run(receive, f"--{BOUNDARY}\r\n".encode() + body, [17], folder)
