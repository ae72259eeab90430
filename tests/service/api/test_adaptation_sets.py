"""Adaptation sets: store, list, look, delete."""

import json
from collections.abc import Callable
from typing import Any

import httpx2

from tests.inputs import image_zip, zip_of
from tests.service.api.checks import problem

Files = Callable[[str], list[str]]


def add(api: httpx2.Client, archive: bytes, request: dict[str, Any] | None = None) -> httpx2.Response:
    parts: dict[str, Any] = {"adaptation_set": ("a.zip", archive)}
    if request is not None:
        parts["request"] = (None, json.dumps(request), "application/json")
    return api.post("/adaptation-sets", files=parts)


def test_a_set_is_stored_once(api: httpx2.Client, files: Files) -> None:
    first, again = (add(api, image_zip(each=2)) for _ in range(2))
    assert (first.status_code, again.status_code) == (201, 201)
    stored = first.json()
    assert stored == again.json()
    assert stored["images"] == 4
    assert stored["classes"] == {"Bag": 2, "Coat": 2}
    assert first.headers["location"] == f"/adaptation-sets/{stored['id']}"
    assert files("sets") == [stored["id"]]
    assert files("staging") == []
    assert api.get(first.headers["location"]).json() == stored


def test_a_label_map_belongs_to_the_set(api: httpx2.Client) -> None:
    archive = image_zip(["shoe", "bag"])
    answer = add(api, archive, {"label_map": {"shoe": ["Sandal", 7], "bag": "Bag"}})
    assert answer.status_code == 201
    assert set(answer.json()["label_map"]) == {"shoe", "bag"}
    assert answer.json()["id"] != add(api, archive).json()["id"]


def test_sets_are_listed_by_pages_newest_first(api: httpx2.Client) -> None:
    ids = [add(api, image_zip(seed=seed)).json()["id"] for seed in range(3)]
    first = api.get("/adaptation-sets?limit=2").json()
    second = api.get("/adaptation-sets", params={"limit": 2, "after": first["next"]}).json()
    assert [each["id"] for each in first["items"] + second["items"]] == ids[::-1]
    assert second["next"] is None
    problem(api.get("/adaptation-sets?after=x"), 422, "invalid_request", "after")


def test_a_set_that_a_job_needs_stays(api: httpx2.Client) -> None:
    set_id = add(api, image_zip()).json()["id"]
    job = api.post("/adapt", json={"pantry": "fashion", "adaptation_sets": [set_id]}).json()
    problem(api.delete(f"/adaptation-sets/{set_id}"), 409, "in_use")
    api.post(f"/jobs/{job['id']}/cancel")
    assert api.delete(f"/adaptation-sets/{set_id}").status_code == 204
    problem(api.delete(f"/adaptation-sets/{set_id}"), 404, "set_not_found")
    problem(api.get(f"/adaptation-sets/{set_id}"), 404, "set_not_found")


def test_a_set_is_refused_and_nothing_kept(api: httpx2.Client, files: Files) -> None:
    problem(add(api, b"x"), 422, "unknown_format")
    problem(add(api, zip_of({})), 422, "no_images")
    problem(add(api, image_zip(), {"label_map": {"Bag": 1}}), 422, "unknown_class")
    problem(add(api, image_zip(), {"label_map": 5}), 422, "invalid_request", "label_map")
    problem(add(api, image_zip(), {"label_map": {"Bag": True, "Coat": 0}}), 422, "invalid_request")
    problem(add(api, image_zip(), {"label_map": {"Bag": [1.0], "Coat": 0}}), 422, "invalid_request")
    problem(add(api, b"x" * 250_000), 413, "too_large")
    problem(api.post("/adaptation-sets", json={}), 415, "unsupported_media_type")
    problem(api.post("/adaptation-sets", files={"request": (None, "{}")}), 400, "malformed_body", "adaptation_set")
    assert files("sets") == []
    assert files("staging") == []


def test_odd_ids_are_not_found(api: httpx2.Client) -> None:
    for odd in ("abc", "%2e%2e", "0" * 64, "a%00b"):
        problem(api.get(f"/adaptation-sets/{odd}"), 404, "set_not_found")
