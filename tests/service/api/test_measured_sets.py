"""Objectives and constraints on some of a job's sets."""

import json

import httpx2
import pytest

from service.api.admission import request_digest
from service.jobs.store import JobStore
from service.schemas.request import AdaptRequest
from service.schemas.result import HeldOut
from tests.inputs import image_zip
from tests.service.api.checks import problem
from tests.service.api.conftest import Post

OTHER = "0" * 64


@pytest.fixture
def sets(api: httpx2.Client) -> list[str]:
    """Ids of two stored sets."""
    answers = [
        api.post("/adaptation-sets", files={"adaptation_set": ("a.zip", image_zip(seed=seed))}) for seed in (1, 2)
    ]
    return [answer.json()["id"] for answer in answers]


def post(api: httpx2.Client, sets: list[str], **fields: object) -> httpx2.Response:
    return api.post("/adapt", json={"pantry": "fashion", "adaptation_sets": sets} | fields)


def test_objective_and_constraint_name_their_sets(api: httpx2.Client, sets: list[str], job_store: JobStore) -> None:
    shifted, clean = sets
    constraint = {"at_least": 0.85, "adaptation_sets": [clean]}
    answer = post(api, sets, objective={"adaptation_sets": [shifted]}, constraints=[constraint])
    assert answer.status_code == 202, answer.text
    assert answer.json()["request"]["request"]["constraints"][0]["adaptation_sets"] == [clean]
    stored = job_store.get(answer.json()["id"]).request.request
    assert {place: each.adaptation_sets for place, each in stored.measured.items()} == {
        "objective": [shifted],
        "constraints.0": [clean],
    }


def test_objectives_may_be_one_a_set(api: httpx2.Client, sets: list[str]) -> None:
    objectives = [{"name": name, "adaptation_sets": [each]} for name, each in zip("ab", sets, strict=True)]
    assert post(api, sets, objectives=objectives).status_code == 202
    objectives[1]["adaptation_sets"] = [OTHER]
    problem(post(api, sets, objectives=objectives), 422, "invalid_request", "objectives.1.adaptation_sets")


def test_a_set_that_is_none_of_the_jobs_is_refused_by_those_there_are(
    api: httpx2.Client, sets: list[str], job_store: JobStore
) -> None:
    refused = problem(
        post(api, sets, constraints=[{"at_least": 0.5}, {"at_least": 0.5, "adaptation_sets": [sets[0], OTHER]}]),
        422,
        "invalid_request",
        "constraints.1.adaptation_sets",
    )
    assert all(each in refused["detail"] for each in (OTHER, *sets))
    assert job_store.queue_depth() == 0


@pytest.mark.parametrize("named", [[], ["x"], "twice"])
def test_sets_are_named_by_their_ids_once(api: httpx2.Client, sets: list[str], named: list[str] | str) -> None:
    body = {"adaptation_sets": [sets[0], sets[0]] if named == "twice" else named}
    param = problem(post(api, sets, objective=body), 422, "invalid_request")["param"]
    assert param.startswith("objective.adaptation_sets")


def test_an_uploaded_set_is_named_by_the_id_that_it_gets(adapt: Post, sets: list[str], job_store: JobStore) -> None:
    def request(set_id: str) -> str:
        return json.dumps({"pantry": "fashion", "objective": {"adaptation_sets": [set_id]}})

    assert adapt(request=request(sets[0]), archive=image_zip(seed=1)).status_code == 202
    refused = adapt(request=request(sets[0]), archive=image_zip(seed=3))
    problem(refused, 422, "invalid_request", "objective.adaptation_sets")
    assert job_store.queue_depth() == 1


def test_sets_count_in_the_meaning_of_a_request_only_where_they_are_named(api: httpx2.Client, sets: list[str]) -> None:
    assert "adaptation_sets" not in post(api, sets).json()["request"]["request"]["objective"]
    plain, named = (
        AdaptRequest.model_validate({"pantry": "fashion", "objective": {"metric": "auto"} | fields})
        for fields in ({}, {"adaptation_sets": ["a" * 64]})
    )
    assert request_digest(plain, ["a" * 64]) == request_digest(AdaptRequest(pantry="fashion"), ["a" * 64])
    assert request_digest(named, ["a" * 64]) != request_digest(plain, ["a" * 64])


def test_a_held_out_score_of_before_baselines_is_read() -> None:
    stored = {"images": 30, "soup": {"score": 0.8}, "ingredients": {"linf": {"score": 0.7}, "l2": {"score": 0.6}}}
    assert HeldOut.model_validate(stored).uniform_soup is None
