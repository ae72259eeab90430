"""Requests for the images to label next."""

import json
from typing import Any

import httpx2
import pytest

from service.jobs.store import JobStore
from service.schemas.pantry import Pantry
from tests.inputs import image_zip, unlabelled_zip
from tests.service.api.checks import problem


@pytest.fixture
def bare(api: httpx2.Client, pantry: Pantry) -> str:
    answer = api.post("/adaptation-sets", files={"adaptation_set": ("a.zip", unlabelled_zip())})
    return str(answer.json()["id"])


def test_a_job_is_begun_for_a_stored_set(api: httpx2.Client, bare: str, job_store: JobStore) -> None:
    answer = api.post("/suggest-labels", json={"pantry": "fashion", "adaptation_sets": [bare], "count": 3})
    assert answer.status_code == 202, answer.text
    assert answer.headers["location"] == answer.json()["urls"]["self"]
    assert answer.headers["retry-after"]
    request = job_store.get(answer.json()["id"]).request.request
    assert (request.label_next, request.ranked_by[0].metric) == (3, "mutual_information")


def test_a_set_comes_with_the_request(api: httpx2.Client, pantry: Pantry) -> None:
    def post(archive: bytes) -> httpx2.Response:
        parts: dict[str, Any] = {
            "request": (None, json.dumps({"pantry": "fashion"}), "application/json"),
            "adaptation_set": ("a.zip", archive),
        }
        return api.post("/suggest-labels", files=parts)

    answer = post(unlabelled_zip())
    assert answer.status_code == 202, answer.text
    assert answer.json()["request"]["request"]["label_next"] == 10
    refused = problem(post(image_zip()), 422, "unlabelled_needed", "adaptation_set")
    assert "has a label already" in refused["detail"]


@pytest.mark.parametrize("wrong", [{"count": 0}, {"count": 1001}, {"objective": {"metric": "nll"}}, {"counts": 3}])
def test_what_makes_no_sense_is_refused(api: httpx2.Client, bare: str, wrong: dict[str, object]) -> None:
    body = {"pantry": "fashion", "adaptation_sets": [bare]} | wrong
    problem(api.post("/suggest-labels", json=body), 422, "invalid_request")
