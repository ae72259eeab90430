"""Downloads of the merged model."""

import hashlib
import io
import zipfile

import httpx2
import pytest

from service.artifacts import open_store
from service.schemas.result import MergedModel
from service.settings import Settings
from tests.driving import Driver
from tests.service.api.checks import problem


@pytest.fixture
def model(job_id: str, driver: Driver) -> MergedModel:
    driver.start()
    driver.record(16)
    return driver.succeed().model


@pytest.fixture
def url(model: MergedModel) -> str:
    return model.url


@pytest.fixture
def content(model: MergedModel, settings: Settings) -> bytes:
    return open_store(settings).read("models", model.sha256, "model.safetensors")


def test_the_file_is_sent_whole(api: httpx2.Client, url: str, model: MergedModel, content: bytes) -> None:
    answer = api.get(url)
    assert answer.status_code == 200
    assert answer.content == content
    assert hashlib.sha256(answer.content).hexdigest() == model.sha256
    assert answer.headers["etag"] == f'"{model.sha256}"'
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["content-disposition"].startswith('attachment; filename="soup-fashion-')


def test_head_tells_size_and_digest(api: httpx2.Client, url: str, model: MergedModel) -> None:
    answer = api.head(url)
    assert (answer.status_code, answer.content) == (200, b"")
    assert int(answer.headers["content-length"]) == model.bytes
    assert answer.headers["etag"] == f'"{model.sha256}"'


def test_a_model_that_the_caller_has_is_not_sent(api: httpx2.Client, url: str, model: MergedModel) -> None:
    for header in (f'"{model.sha256}"', f'W/"{model.sha256}"', "*", f'"x", "{model.sha256}"'):
        answer = api.get(url, headers={"If-None-Match": header})
        assert (answer.status_code, answer.content) == (304, b"")
    assert api.get(url, headers={"If-None-Match": '"x"'}).status_code == 200


@pytest.mark.parametrize(
    ("header", "expected"),
    [("bytes=0-99", slice(100)), ("bytes=100-", slice(100, None)), ("bytes=-50", slice(-50, None))],
)
def test_a_range_resumes_a_download(api: httpx2.Client, url: str, content: bytes, header: str, expected: slice) -> None:
    answer = api.get(url, headers={"Range": header})
    assert answer.status_code == 206
    assert answer.content == content[expected]
    assert answer.headers["content-range"].endswith(f"/{len(content)}")


def test_several_ranges_are_sent_as_parts(api: httpx2.Client, url: str, content: bytes) -> None:
    answer = api.get(url, headers={"Range": "bytes=0-9,100-109"})
    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert content[:10] in answer.content
    assert content[100:110] in answer.content


def test_a_range_of_another_model_is_not_mixed_in(
    api: httpx2.Client, url: str, model: MergedModel, content: bytes
) -> None:
    same = api.get(url, headers={"Range": "bytes=5-", "If-Range": f'"{model.sha256}"'})
    other = api.get(url, headers={"Range": "bytes=5-", "If-Range": '"other"'})
    assert (same.status_code, same.content) == (206, content[5:])
    assert (other.status_code, other.content) == (200, content)


def test_a_range_outside_the_file_is_refused(api: httpx2.Client, url: str, content: bytes) -> None:
    answer = api.get(url, headers={"Range": f"bytes={len(content)}-"})
    problem(answer, 416, "range_not_satisfiable")
    assert answer.headers["content-range"] == f"bytes */{len(content)}"


def test_a_range_without_sense_is_refused(api: httpx2.Client, url: str) -> None:
    problem(api.get(url, headers={"Range": "bytes=x"}), 400, "malformed_request")


def test_the_archive_holds_what_timm_loads(
    api: httpx2.Client, url: str, model: MergedModel, content: bytes, settings: Settings
) -> None:
    answer = api.get(url, params={"format": "timm"})
    assert answer.headers["content-type"] == "application/zip"
    assert int(answer.headers["content-length"]) == len(answer.content)
    config = open_store(settings).read("models", model.sha256, "config.json")
    with zipfile.ZipFile(io.BytesIO(answer.content)) as archive:
        assert archive.testzip() is None
        assert {name: archive.read(name) for name in archive.namelist()} == {
            "config.json": config,
            "model.safetensors": content,
        }
    tag = answer.headers["etag"]
    assert api.get(url, params={"format": "timm"}, headers={"If-None-Match": tag}).status_code == 304
    head = api.head(url, params={"format": "timm"})
    assert (head.headers["content-length"], head.content) == (answer.headers["content-length"], b"")


def test_there_is_no_model_before_the_end(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    assert "Wait" in problem(api.get(f"/jobs/{job_id}/model"), 409, "model_not_ready")["detail"]
    driver.start()
    assert "running" in problem(api.get(f"/jobs/{job_id}/model"), 409, "model_not_ready")["detail"]
    driver.fail()
    assert "failed" in problem(api.get(f"/jobs/{job_id}/model"), 409, "model_not_ready")["detail"]
    assert api.head(f"/jobs/{job_id}/model").status_code == 409


def test_a_cancelled_job_keeps_its_best(api: httpx2.Client, job_id: str, driver: Driver) -> None:
    driver.start()
    driver.record(16)
    api.post(f"/jobs/{job_id}/cancel")
    model = driver.cancel().model
    assert api.get(f"/jobs/{job_id}/model").headers["etag"] == f'"{model.sha256}"'


def test_a_removed_model_has_expired(api: httpx2.Client, url: str, model: MergedModel, settings: Settings) -> None:
    store = open_store(settings)
    (entry,) = store.entries("models")
    assert entry.digest == model.sha256
    store.delete(entry)
    for form in ("safetensors", "timm"):
        problem(api.get(url, params={"format": form}), 410, "expired")


def test_another_format_is_refused(api: httpx2.Client, url: str) -> None:
    problem(api.get(url, params={"format": "pickle"}), 422, "invalid_request", "format")
