"""Whatever is asked, the answer is a good one or a problem document, and never a failure of the service."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.settings import Settings
from tests.serving import running_api

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
PLACES = [
    "jobs",
    "adapt",
    "adaptation-sets",
    "pantries",
    "static",
    "lib",
    "view",
    "events",
    "points",
    "model",
    "cancel",
]
SEGMENT = st.sampled_from(PLACES) | TEXT.map(lambda text: quote(text, safe=""))
PATH = st.lists(SEGMENT, max_size=4).map(lambda segments: "/" + "/".join(segments))
QUERY = st.dictionaries(st.sampled_from(["limit", "after", "status", "format", "x"]), TEXT, max_size=3)
VALUE = st.text(st.characters(min_codepoint=33, max_codepoint=126), max_size=20)
NAMES = ["if-none-match", "range", "accept", "content-type", "idempotency-key", "last-event-id", "origin"]
HEADERS = st.dictionaries(st.sampled_from(NAMES), VALUE, max_size=3)
METHOD = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
BODY = st.sampled_from([b"", b"{}", b"[1", b'{"pantry": "fashion"}', b"--x\r\n\r\n--x--", b"\x00\xff"])


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory, redis_url: str) -> Iterator[httpx2.Client]:
    folder: Path = tmp_path_factory.mktemp("data")
    options = Settings(_env_file=None, data_dir=folder, redis_url=redis_url, redis_prefix="any", port=0)
    with running_api(options) as url, httpx2.Client(base_url=url, timeout=60) as client:
        yield client


CALL = st.fixed_dictionaries({"method": METHOD, "params": QUERY, "headers": HEADERS, "content": BODY})


@settings(max_examples=150, deadline=None)
@given(path=PATH, call=CALL)
def test_any_request_is_answered(client: httpx2.Client, path: str, call: dict[str, Any]) -> None:
    answer = client.request(url=str(client.base_url).rstrip("/") + path, **call)
    assert answer.status_code < 500
    if answer.status_code >= 400:
        assert answer.headers["content-type"] == "application/problem+json"
        assert call["method"] == "HEAD" or answer.json()["status"] == answer.status_code
