"""POST /adapt through real HTTP."""

import json
from collections.abc import Callable, Iterator
from math import nan
from typing import Any

import httpx2
import pytest

from service.api.admission import request_digest
from service.job_warnings import warn_of_long_search
from service.jobs.store import JobStore
from service.schemas.job import Job
from service.schemas.pantry import Pantry
from service.schemas.request import AdaptRequest
from service.settings import Settings
from tests.driving import Driver
from tests.inputs import Part, image_zip, zip_of
from tests.service.api.checks import problem
from tests.service.api.conftest import NAMES, Post
from tests.serving import running_api

Files = Callable[[str], list[str]]

NO_SET = "0" * 64


def store_set(api: httpx2.Client, seed: int = 0) -> str:
    answer = api.post("/adaptation-sets", files={"adaptation_set": ("a.zip", image_zip(seed=seed))})
    return str(answer.json()["id"])


def test_an_upload_becomes_a_job_that_waits(adapt: Post, pantry: Pantry, files: Files) -> None:
    answer = adapt()
    assert answer.status_code == 202
    job = Job.model_validate(answer.json())
    assert (job.status, job.is_terminal, job.queue_position) == ("queued", False, 0)
    assert answer.headers["location"] == f"/jobs/{job.id}"
    assert int(answer.headers["retry-after"]) >= 1
    assert job.request.pantry_digest == pantry.digest
    assert job.request.ingredients == list(NAMES)
    assert job.request.request.seed == 0
    assert files("sets") == job.request.adaptation_sets
    assert files("staging") == []


def test_parts_come_in_either_order(api: httpx2.Client) -> None:
    request: tuple[str, Part] = ("request", (None, '{"pantry": "fashion"}', "application/json"))
    archive: tuple[str, Part] = ("adaptation_set", ("a.zip", image_zip(), "application/zip"))
    answers = [api.post("/adapt", files=parts) for parts in ([request, archive], [archive, request])]
    assert [answer.status_code for answer in answers] == [202, 202]
    first, second = (answer.json()["request"]["adaptation_sets"] for answer in answers)
    assert first == second


LATTICE = {"lower": -0.4, "upper": 1.4, "step": 0.2, "convex": True}
AUTO = {"statistics": "auto", "head": "auto", "temperature": False, "layers": "one"}
PLAIN = {"statistics": "source", "head": "keep", "temperature": False, "layers": "one"}
LINF = {"norm": "Linf", "eps": 0.1}


@pytest.mark.parametrize(
    ("fields", "metric", "search", "refine"),
    [
        ({}, "nll", {"strategy": "auto", **LATTICE, "budget": None}, AUTO),
        ({"preset": "paper"}, "accuracy", {"strategy": "grid", **LATTICE, "prune": False}, PLAIN),
        ({"objective": {"over_sets": "worst"}}, "nll", {"strategy": "auto", **LATTICE, "budget": None}, AUTO),
        ({"objective": {"metric": "accuracy"}, "refine": {"head": "keep"}}, "accuracy", None, AUTO | {"head": "keep"}),
        ({"objective": {"metric": "robust_accuracy", "threats": [LINF]}}, "robust_accuracy", None, PLAIN),
        ({"constraints": [{"metric": "robust_accuracy", "threats": [LINF], "at_least": 0.1}]}, "nll", None, PLAIN),
        ({"precision": "bfloat16"}, "nll", None, PLAIN),
        ({"search": {"strategy": "bayes", "continuous": True}}, "nll", None, AUTO),
    ],
)
def test_what_is_left_out_is_as_the_preset_says(
    api: httpx2.Client, fields: dict[str, Any], metric: str, search: dict[str, Any] | None, refine: dict[str, Any]
) -> None:
    body = {"pantry": "fashion", "adaptation_sets": [store_set(api)], "search": {"convex": True}} | fields
    answer = api.post("/adapt", json=body)
    assert answer.status_code == 202
    echo = answer.json()["request"]["request"]
    assert echo["objective"]["metric"] == metric
    assert search is None or echo["search"] == search
    assert echo["refine"] == refine
    assert AdaptRequest.model_validate(echo).model_dump(mode="json") == echo


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"preset": "best"}, "preset"),
        ({"preset": [1]}, "preset"),
        ({"preset": {}}, "preset"),
        ({"objectives": 5}, "objectives"),
        ({"constraints": True}, "constraints"),
        ({"constraints": [7]}, "constraints.0"),
        ({"objective": 3}, "objective"),
        ({"refine": 1}, "refine"),
        ({"search": {"fixed": {"linf": 20}}}, "search.fixed.linf"),
    ],
)
def test_fields_of_another_form_are_refused(api: httpx2.Client, fields: dict[str, Any], param: str) -> None:
    answer = api.post("/adapt", json={"pantry": "fashion", "adaptation_sets": ["a" * 64], **fields})
    assert (answer.status_code, answer.json()["param"]) == (422, param)


@pytest.mark.parametrize(
    ("search", "says"),
    [
        ({"fixed": {"foo": 0.2}}, "no ingredient 'foo'"),
        ({"bounds": {NAMES[0]: [1, 0]}}, f"bounds of '{NAMES[0]}' are 1 and 0"),
        ({"strategy": "greedy", "fixed": {NAMES[0]: 0.2}}, "leave fixed and bounds out"),
        ({"strategy": "uniform", "bounds": {NAMES[0]: [0.9, 1]}}, "the uniform soup lies outside"),
    ],
)
def test_limits_that_leave_no_search_are_refused_at_once(api: httpx2.Client, search: dict[str, Any], says: str) -> None:
    body = {"pantry": "fashion", "adaptation_sets": [store_set(api)], "search": search}
    answer = api.post("/adapt", json=body)
    assert (answer.status_code, answer.json()["param"]) == (422, "search")
    assert says in answer.json()["detail"]


@pytest.mark.parametrize(
    ("search", "param", "says"),
    [
        ({"strategy": "grid", "budget": {"seconds": 3}}, "search", "grid takes no budget, because it tries all"),
        ({"strategy": "random", "budget": {"interval": 0.1}}, "search", "leave interval out"),
        ({"budget": {"forward_passes": 7}}, "search.budget.forward_passes", "One soup takes up to 12 forward passes"),
        ({"budget": {"seconds": 0}}, "search.budget.seconds", "greater than 0"),
    ],
)
def test_a_budget_that_cannot_be_kept_is_refused(
    api: httpx2.Client, search: dict[str, Any], param: str, says: str
) -> None:
    body = {"pantry": "fashion", "adaptation_sets": [store_set(api)], "search": search, "refine": {"head": "keep"}}
    answer = problem(api.post("/adapt", json=body), 422, "invalid_request")
    assert answer["param"] == param
    assert says in answer["detail"]


def test_an_interval_needs_a_single_objective(api: httpx2.Client) -> None:
    body = {"pantry": "fashion", "adaptation_sets": [store_set(api)], "search": {"budget": {"interval": 0.1}}}
    several = {"objectives": [{"name": "clean"}, {"name": "likely", "metric": "nll"}]}
    assert api.post("/adapt", json=body).status_code == 202
    answer = problem(api.post("/adapt", json=body | several), 422, "invalid_request")
    assert answer["param"] == "search.budget.interval"


def test_a_dry_run_estimates_the_cost_and_keeps_nothing(adapt: Post, job_store: JobStore, files: Files) -> None:
    paper, dry = {"pantry": "fashion", "preset": "paper"}, {"dry_run": "true"}
    answer = adapt(request=json.dumps(paper), params=dry)
    found = answer.json()
    assert (answer.status_code, found["evaluations"], found["seconds"]) == (200, 480, None)
    assert found["forward_passes"] % 480 == 0
    images = found["forward_passes"] // 480
    assert [each["code"] for each in found["warnings"]][-1] == "few_images"
    assert (job_store.queue_depth(), job_store.list().items) == (0, [])
    assert files("sets") == files("staging") == []
    budget = {"forward_passes": 10 * images + 1}
    search = {"strategy": "random", "budget": budget}
    limited = adapt(request=json.dumps(paper | {"search": search}), params=dry)
    assert limited.json()["forward_passes"] == budget["forward_passes"]
    refused = adapt(request=json.dumps(paper | {"search": {"step": -1}}), params=dry)
    problem(refused, 422, "invalid_request", "search.step")


def test_a_dry_run_that_fails_unforeseen_keeps_nothing(
    adapt: Post, files: Files, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr("service.api.admission.warn_of_images", fail)
    problem(adapt(params={"dry_run": "true"}), 500, "internal_error")
    assert files("sets") == files("staging") == []


def test_a_dry_run_knows_how_fast_the_last_search_of_its_kind_was(api: httpx2.Client, job_store: JobStore) -> None:
    paper = {"pantry": "fashion", "preset": "paper", "adaptation_sets": [store_set(api)]}
    echo = job_store.get(api.post("/adapt", json=paper).json()["id"]).request
    job_store.note_speed(echo.kind_of_work, 100.0)
    dry = {"dry_run": "true"}
    found = api.post("/adapt", json=paper, params=dry).json()
    assert found["seconds"] == found["forward_passes"] / 100
    for fields in ({"precision": "bfloat16"}, {"search": {"strategy": "grid", "prune": True}}):
        other = api.post("/adapt", json=paper | fields, params=dry).json()
        assert other["seconds"] is None
    search = {"strategy": "random", "budget": {"evaluations": 1000, "seconds": 1.5}}
    assert api.post("/adapt", json=paper | {"search": search}, params=dry).json()["seconds"] == 1.5
    job_store.note_speed(echo.kind_of_work, 0.1)
    slow = api.post("/adapt", json=paper, params=dry).json()
    assert slow["warnings"][-1] == warn_of_long_search(slow["seconds"])[0].model_dump()
    assert job_store.redis.ttl(job_store.keys.speed(echo.kind_of_work)) > 0


def test_a_job_goes_on_from_the_soups_of_another_that_has_ended(
    api: httpx2.Client, job_store: JobStore, driver: Driver
) -> None:
    sets = [store_set(api)]
    body = {"pantry": "fashion", "preset": "paper", "adaptation_sets": sets}
    earlier = api.post("/adapt", json=body).json()["id"]
    driver.start()
    driver.points[3] = driver.points[3].model_copy(update={"score": None, "pruned": True})
    driver.record(16)
    driver.succeed()
    tried = [tuple(point.weights) for point in job_store.iter_points(earlier) if point.index != 3]
    search: dict[str, Any] = {"continue_from": earlier}
    answer = api.post("/adapt", json=body | {"search": search})
    assert answer.status_code == 202
    assert job_store.earlier(answer.json()["id"]) == tried
    assert answer.json()["request"]["request"]["search"]["continue_from"] == earlier
    bounded = search | {"fixed": {NAMES[1]: tried[0][1]}}
    within = [soup for soup in tried if soup[1] == tried[0][1]]
    assert 0 < len(within) < len(tried)
    other = api.post("/adapt", json=body | {"search": bounded}).json()["id"]
    assert job_store.earlier(other) == within
    cost = api.post("/adapt", json=body | {"search": search}, params={"dry_run": "true"}).json()
    assert cost["evaluations"] == 480 + len(tried)
    bayes = search | {"strategy": "bayes", "budget": {"evaluations": len(tried) + 4}}
    cost = api.post("/adapt", json=body | {"search": bayes}, params={"dry_run": "true"}).json()
    assert cost["evaluations"] == len(tried) + 4
    api.post(f"/jobs/{other}/cancel")
    api.delete(f"/jobs/{other}")
    assert not job_store.redis.exists(job_store.keys.earlier(other))


def test_a_job_that_cannot_be_continued_is_refused(api: httpx2.Client, driver: Driver) -> None:
    sets = [store_set(api)]
    body = {"pantry": "fashion", "preset": "paper", "adaptation_sets": sets}
    earlier = api.post("/adapt", json=body).json()["id"]

    def refusal(param: str = "search.continue_from", code: str = "invalid_request", **search: object) -> str:
        asked = body | {"search": {"continue_from": earlier} | search}
        return str(problem(api.post("/adapt", json=asked), 422, code, param)["detail"])

    assert "There is no job none to continue" in refusal(continue_from="none")
    assert "is queued, and its soups may change. Wait until" in refusal()
    api.post(f"/jobs/{earlier}/pause")
    assert "is paused, and its soups may change. Resume it" in refusal()
    api.post(f"/jobs/{earlier}/resume")
    driver.start()
    driver.record(16)
    driver.succeed()
    assert "no soup within the limits" in refusal(bounds={NAMES[0]: [1.35, 1.4]}, fixed={NAMES[1]: 0.05})
    few = refusal("search.budget.evaluations", strategy="bayes", budget={"evaluations": 16})
    assert "has tried 16 soups, and they count: the budget allows 16" in few
    assert "there is no ingredient 'none'" in refusal("search", "invalid_search", fixed={"none": 0.5})


def test_stored_sets_are_named_in_json(api: httpx2.Client) -> None:
    sets = [store_set(api, seed) for seed in (1, 2)]
    answer = api.post(
        "/adapt", json={"pantry": "fashion", "adaptation_sets": sets, "objective": {"over_sets": "worst"}}
    )
    assert answer.status_code == 202
    assert answer.json()["request"]["adaptation_sets"] == sets
    assert answer.json()["request"]["request"]["objective"]["over_sets"] == "worst"


def test_an_idempotency_key_gives_the_same_job(adapt: Post, job_store: JobStore) -> None:
    headers = {"Idempotency-Key": "night run 1"}
    first = adapt(headers=headers)
    again = adapt(request='{"pantry":   "fashion", "seed": 0}', headers=headers)
    assert (first.status_code, again.status_code) == (202, 202)
    assert first.json()["id"] == again.json()["id"]
    assert job_store.queue_depth() == 1


def test_an_idempotency_key_outlives_an_upgrade_that_adds_a_field() -> None:
    class Later(AdaptRequest):
        novelty: int = 3

    body = {"pantry": "fashion", "search": {"strategy": "grid", "step": 0.1}}
    digest = request_digest(AdaptRequest.model_validate(body), ["a"])
    assert request_digest(Later.model_validate(body), ["a"]) == digest
    assert request_digest(Later.model_validate(body | {"novelty": 4}), ["a"]) != digest
    digests = {
        request_digest(AdaptRequest.model_validate({"pantry": "fashion", "search": {"strategy": strategy}}), ["a"])
        for strategy in ("grid", "uniform")
    }
    assert len(digests) == 2


def test_an_idempotency_key_with_another_body_is_refused(adapt: Post, files: Files) -> None:
    headers = {"Idempotency-Key": "k"}
    kept = adapt(headers=headers).json()["request"]["adaptation_sets"]
    problem(adapt(request='{"pantry": "fashion", "seed": 1}', headers=headers), 422, "idempotency_conflict")
    problem(adapt(archive=image_zip(seed=9), headers=headers), 422, "idempotency_conflict", "Idempotency-Key")
    assert files("sets") == kept


def test_an_idempotency_key_outlives_the_set_and_the_pantry(api: httpx2.Client, driver: Driver) -> None:
    body, headers = {"pantry": "fashion", "adaptation_sets": [store_set(api)]}, {"Idempotency-Key": "k"}
    first = api.post("/adapt", json=body, headers=headers)
    assert first.status_code == 202
    driver.start()
    driver.fail()
    for path in (f"/adaptation-sets/{body['adaptation_sets'][0]}", "/pantries/fashion"):
        assert api.delete(path).status_code == 204
    again = api.post("/adapt", json=body, headers=headers)
    assert (again.status_code, again.json()["id"]) == (202, first.json()["id"])
    problem(api.post("/adapt", json=body), 404, "pantry_not_found")


def test_a_stored_set_survives_the_refusal_of_a_job_with_it(api: httpx2.Client, adapt: Post, files: Files) -> None:
    set_id = store_set(api)
    adapt(headers={"Idempotency-Key": "k"}, archive=image_zip(seed=5))
    problem(adapt(headers={"Idempotency-Key": "k"}), 422, "idempotency_conflict")
    assert set_id in files("sets")


def test_too_many_waiting_jobs_are_refused(settings: Settings, pantry: Pantry, files: Files) -> None:
    few = settings.model_copy(update={"max_queued_jobs": 1})
    with running_api(few) as url, httpx2.Client(base_url=url) as client:
        answers = []
        for seed in (1, 2):
            archive = image_zip(seed=seed)
            parts: dict[str, Part] = {"request": (None, '{"pantry": "fashion"}'), "adaptation_set": ("a.zip", archive)}
            answers.append(client.post("/adapt", files=parts))
    assert answers[0].status_code == 202
    problem(answers[1], 429, "quota_exceeded")
    assert int(answers[1].headers["retry-after"]) >= 1
    assert files("sets") == answers[0].json()["request"]["adaptation_sets"]


@pytest.fixture
def nothing_is_kept(api: httpx2.Client, files: Files, job_store: JobStore) -> Iterator[None]:
    yield
    assert files("sets") == []
    assert files("staging") == []
    assert job_store.queue_depth() == 0


def search(**fields: object) -> str:
    return json.dumps({"pantry": "fashion", "search": {"strategy": "grid"} | fields})


THREAT = {"norm": "Linf", "eps": 0.1, "steps": 1000, "restarts": 10}
FINE_AND_FIXED = {"step": 1e-9, "fixed": {NAMES[0]: 0.2}}
COSTLY = json.dumps(
    {"pantry": "fashion", "preset": "paper", "objective": {"metric": "robust_accuracy", "threats": [THREAT]}}
)


@pytest.mark.usefixtures("nothing_is_kept")
@pytest.mark.parametrize(
    ("request_json", "status", "code", "param"),
    [
        ("{", 400, "malformed_body", "request"),
        ("{}", 422, "invalid_request", "pantry"),
        ('{"pantry": "nobody"}', 404, "pantry_not_found", "pantry"),
        ('{"pantry": "../x"}', 422, "invalid_request", "pantry"),
        ('{"pantry": "fashion", "typo": 1}', 422, "invalid_request", "typo"),
        ('{"pantry": "fashion", "search": {"strategy": "magic"}}', 422, "invalid_request", "search"),
        ('{"pantri": "fashion"}', 422, "invalid_request", "pantri"),
        (search(step=0), 422, "invalid_request", "search.step"),
        (search(step=nan), 422, "invalid_request", None),
        (search(lower=0.5), 422, "empty_lattice", "search"),
        (search(step=0.3), 422, "empty_lattice", "search"),
        (search(step=1e-9), 422, "too_many_points", "search"),
        (json.dumps({"pantry": "fashion", "search": {"step": 1e-9}}), 422, "too_many_points", "search"),
        (json.dumps({"pantry": "fashion", "search": FINE_AND_FIXED}), 422, "too_many_points", "search"),
        (search(step=0.1), 422, "too_many_points", "search"),
        (COSTLY, 422, "too_many_passes", "search"),
        ('{"pantry": "fashion", "held_out_fraction": 0.01}', 422, "invalid_request", "held_out_fraction"),
        ('{"pantry": "fashion", "label_map": {"Bag": 0}}', 422, "unknown_class", None),
        ('{"pantry": "fashion", "label_map": {"Bag": 0, "Coat": 99}}', 422, "unknown_class", None),
        (json.dumps({"pantry": "fashion", "adaptation_sets": [NO_SET]}), 422, "invalid_request", "adaptation_sets"),
    ],
)
def test_a_request_is_refused(adapt: Post, request_json: str, status: int, code: str, param: str | None) -> None:
    problem(adapt(request=request_json), status, code, param)


@pytest.mark.usefixtures("nothing_is_kept")
@pytest.mark.parametrize(
    ("archive", "code"),
    [
        (b"no archive at all", "unknown_format"),
        (image_zip(["Bag", "Hat"]), "unknown_class"),
        (image_zip(["Bag", "10"]), "unknown_class"),
        (image_zip(["Bag"]), "one_class"),
        (zip_of({"Bag/1.png": b"not a picture", "Coat/1.png": b"neither"}), "not_an_image"),
        (zip_of({"../Bag/1.png": b"x"}), "unsafe_path"),
        (zip_of({}), "no_images"),
    ],
)
def test_an_archive_is_refused(adapt: Post, archive: bytes, code: str) -> None:
    problem(adapt(archive=archive), 422, code)


@pytest.mark.parametrize(
    ("document", "status", "code", "param"),
    [
        ({"pantry": "fashion"}, 422, "invalid_request", "adaptation_set"),
        ({"pantry": "fashion", "adaptation_sets": [NO_SET]}, 404, "set_not_found", "adaptation_sets"),
        ({"pantry": "fashion", "adaptation_sets": []}, 422, "invalid_request", "adaptation_sets"),
        ({"pantry": "fashion", "adaptation_sets": [NO_SET] * 2}, 422, "invalid_request", "adaptation_sets"),
        (
            {"pantry": "fashion", "adaptation_sets": [NO_SET], "label_map": {"a": 1}},
            422,
            "invalid_request",
            "label_map",
        ),
    ],
)
def test_a_json_request_is_refused(
    api: httpx2.Client, document: dict[str, Any], status: int, code: str, param: str
) -> None:
    problem(api.post("/adapt", json=document), status, code, param)


def test_a_long_idempotency_key_is_refused(adapt: Post) -> None:
    problem(adapt(headers={"Idempotency-Key": "k" * 256}), 422, "invalid_request", "idempotency-key")


def test_a_body_of_another_type_is_refused(api: httpx2.Client) -> None:
    problem(api.post("/adapt", content=b"x", headers={"content-type": "text/plain"}), 415, "unsupported_media_type")
    problem(api.post("/adapt"), 415, "unsupported_media_type", "Content-Type")
