"""Pantries over HTTP; a thread of the test answers the checks as a worker does."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx2

from service.connection import connect
from service.errors import InvalidPantry
from service.pantries.verification import answer_next
from service.schemas.pantry import Pantry
from service.settings import Settings
from tests.inputs import pantry_zip, zip_of
from tests.service.api.checks import problem

Files = Callable[[str], list[str]]


@contextmanager
def checking(settings: Settings, check: Callable[[Path], None]) -> Iterator[None]:
    settings.verify_timeout = 30.0
    with connect(settings) as client:
        worker = threading.Thread(target=answer_next, args=(client, settings, check, 30.0))
        worker.start()
        yield
        worker.join()


def add(api: httpx2.Client, archive: bytes, name: str = "new", **more: object) -> httpx2.Response:
    request = json.dumps({"name": name, **more})
    return api.post("/pantries", files={"request": (None, request), "pantry": ("p.zip", archive)})


def test_pantries_are_listed(api: httpx2.Client, pantry: Pantry) -> None:
    assert api.get("/pantries").json() == {"items": [pantry.model_dump(mode="json")]}
    assert api.get("/pantries/fashion").json() == pantry.model_dump(mode="json")
    problem(api.get("/pantries/none"), 404, "pantry_not_found")
    problem(api.get("/pantries/%2e%2e"), 404, "pantry_not_found")


def test_an_uploaded_pantry_is_checked_by_a_worker(
    api: httpx2.Client, settings: Settings, tmp_path: Path, files: Files
) -> None:
    with checking(settings, lambda _: None):
        answer = add(api, pantry_zip(tmp_path / "in"), ingredients=["l2", "linf"])
    assert answer.status_code == 201
    assert answer.headers["location"] == "/pantries/new"
    assert [each["name"] for each in answer.json()["ingredients"]] == ["l2", "linf"]
    assert api.get("/pantries/new").json() == answer.json()
    assert files("staging") == []


def test_what_the_worker_refuses_is_refused(
    api: httpx2.Client, settings: Settings, tmp_path: Path, files: Files
) -> None:
    def refuse(_: Path) -> None:
        raise InvalidPantry("timm knows no 'test_vit': take one that it knows", code="unknown_architecture")

    with checking(settings, refuse):
        problem(add(api, pantry_zip(tmp_path / "in")), 422, "unknown_architecture", "pantry")
    assert files("names/pantries") == ["fashion.json"]
    assert len(files("pantries")) == 1
    assert files("staging") == []


def test_without_a_worker_nothing_is_kept(api: httpx2.Client, tmp_path: Path, files: Files) -> None:
    answer = add(api, pantry_zip(tmp_path / "in"))
    problem(answer, 503, "no_worker")
    assert answer.headers["retry-after"]
    assert files("names/pantries") == ["fashion.json"]
    assert len(files("pantries")) == 1
    assert files("staging") == []


def test_bad_pantries_are_refused(api: httpx2.Client, tmp_path: Path, files: Files) -> None:
    archive = pantry_zip(tmp_path / "in")
    problem(add(api, archive, name="fashion"), 409, "pantry_exists", "name")
    problem(add(api, archive, name="../x"), 422, "invalid_request", "name")
    problem(add(api, archive, ingredients=["linf", "absent"]), 422, "unknown_ingredient", "ingredients")
    problem(add(api, zip_of({"stray.safetensors": b"x", "model.safetensors": b"x"})), 422, "misplaced_file", "pantry")
    problem(add(api, archive, ingredients=["linf"]), 422, "invalid_request", "ingredients")
    problem(add(api, zip_of({})), 422, "ingredient_count", "pantry")
    problem(add(api, b"x" * 500_000), 413, "too_large", "pantry")
    problem(api.post("/pantries", files={"pantry": ("p.zip", archive)}), 400, "malformed_body", "request")
    problem(api.post("/pantries", files={"request": (None, '{"name": "a"}')}), 400, "malformed_body", "pantry")
    problem(api.post("/pantries", json={"name": "a"}), 415, "unsupported_media_type")
    assert files("names/pantries") == ["fashion.json"]
    assert len(files("pantries")) == 1
    assert files("staging") == []


def test_a_pantry_that_a_job_needs_stays(api: httpx2.Client, job_id: str) -> None:
    problem(api.delete("/pantries/fashion"), 409, "in_use")
    api.post(f"/jobs/{job_id}/cancel")
    assert api.delete("/pantries/fashion").status_code == 204
    problem(api.delete("/pantries/fashion"), 404, "pantry_not_found")
    assert api.get(f"/jobs/{job_id}").status_code == 200
