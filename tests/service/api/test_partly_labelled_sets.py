"""Requests for sets in which some images have no label, or none has."""

import httpx2
import pytest

from service.jobs.store import JobStore
from tests.inputs import image_zip, png, unlabelled_zip, zip_of
from tests.service.api.checks import problem

THREATS = [{"norm": "Linf", "eps": 0.1, "steps": 1}]


def stored(api: httpx2.Client, archive: bytes) -> str:
    answer = api.post("/adaptation-sets", files={"adaptation_set": ("a.zip", archive)})
    assert answer.status_code == 201, answer.text
    return str(answer.json()["id"])


@pytest.fixture
def bare(api: httpx2.Client) -> str:
    return stored(api, unlabelled_zip())


@pytest.fixture
def mixed(api: httpx2.Client) -> str:
    files = {f"{name}/{number}.png": png(number) for name in ("Bag", "Coat", "unlabelled") for number in range(4)}
    return stored(api, zip_of(files))


def post(api: httpx2.Client, sets: list[str], **fields: object) -> httpx2.Response:
    return api.post("/adapt", json={"pantry": "fashion", "adaptation_sets": sets} | fields)


def test_a_set_says_how_many_images_have_a_label(api: httpx2.Client, bare: str, mixed: str) -> None:
    counts = [api.get(f"/adaptation-sets/{each}").json() for each in (bare, mixed)]
    assert [(each["images"], each["labelled"]) for each in counts] == [(6, 0), (12, 8)]
    assert [each["classes"] for each in counts] == [{}, {"Bag": 4, "Coat": 4}]


@pytest.mark.parametrize("metric", ["accuracy", "nll"])
def test_what_needs_labels_says_so_where_there_are_none(
    api: httpx2.Client, bare: str, job_store: JobStore, metric: str
) -> None:
    refused = problem(post(api, [bare], objective={"metric": metric}), 422, "labels_needed", "objective")
    assert metric in refused["detail"]
    assert "labels.json" in refused["detail"]
    assert job_store.queue_depth() == 0


def test_an_objective_needs_labels_in_each_set_that_it_names(api: httpx2.Client, bare: str, mixed: str) -> None:
    accuracy = {"metric": "accuracy"}
    assert post(api, [bare, mixed], objective=accuracy).status_code == 202
    assert post(api, [bare, mixed], objective=accuracy | {"adaptation_sets": [mixed]}).status_code == 202
    named = accuracy | {"adaptation_sets": [bare, mixed]}
    problem(post(api, [bare, mixed], objective=named), 422, "labels_needed", "objective.adaptation_sets")
    constraint = {"at_least": 0.5, "adaptation_sets": [bare]}
    refused = post(api, [bare, mixed], objective=accuracy, constraints=[constraint])
    problem(refused, 422, "labels_needed", "constraints.0.adaptation_sets")


def test_attacks_need_a_label_for_every_image(api: httpx2.Client, mixed: str) -> None:
    robust = {"metric": "robust_accuracy", "threats": THREATS}
    refused = problem(post(api, [mixed], objective=robust), 422, "labels_needed", "objective")
    assert "4 of this set's" in refused["detail"]
    labelled = stored(api, image_zip())
    assert post(api, [labelled], objective=robust).status_code == 202


def test_refits_count_labelled_images_alone(api: httpx2.Client, mixed: str) -> None:
    request = {"objective": {"metric": "accuracy"}, "refine": {"head": "refit"}}
    refused = problem(post(api, [mixed], **request), 422, "head_not_refittable", "refine.head")
    assert "8 select" in refused["detail"]


def test_a_fraction_is_held_out_of_both_kinds_of_images(api: httpx2.Client, mixed: str) -> None:
    accuracy = {"metric": "accuracy"}
    assert post(api, [mixed], objective=accuracy, held_out_fraction=0.25).status_code == 202
    refused = post(api, [mixed], objective=accuracy, held_out_fraction=0.1)
    assert "4 images without a label" in problem(refused, 422, "invalid_request", "held_out_fraction")["detail"]
