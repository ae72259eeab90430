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


def objective(answer: httpx2.Response) -> dict[str, object]:
    assert answer.status_code == 202, answer.text
    found: dict[str, object] = answer.json()["request"]["request"]["objective"]
    return found


def many(api: httpx2.Client, labelled: int, unlabelled: int) -> str:
    names = ["Bag", "Coat"] * (labelled // 2) + ["unlabelled"] * unlabelled
    return stored(api, zip_of({f"{name}/{number}.png": png(number) for number, name in enumerate(names)}))


def test_auto_reads_what_images_without_a_label_tell_where_labels_are_few(
    api: httpx2.Client, bare: str, mixed: str
) -> None:
    assert objective(post(api, [bare]))["metric"] == "mutual_information"
    assert objective(post(api, [mixed]))["metric"] == "mutual_information"
    assert objective(post(api, [stored(api, image_zip())]))["metric"] == "nll"
    assert objective(post(api, [many(api, 48, 10)]))["metric"] == "mutual_information"
    enough = many(api, 50, 10)
    assert objective(post(api, [enough]))["metric"] == "nll"
    assert objective(post(api, [enough], held_out_fraction=0.1))["metric"] == "mutual_information"
    assert objective(post(api, [enough, bare], objective={"adaptation_sets": [bare]}))["metric"] == "mutual_information"
    assert objective(post(api, [mixed], preset="paper"))["metric"] == "accuracy"


def test_a_repeated_request_is_known_by_what_was_asked(api: httpx2.Client, bare: str) -> None:
    body, key = {"pantry": "fashion", "adaptation_sets": [bare]}, {"Idempotency-Key": "once"}
    first, second = (api.post("/adapt", json=body, headers=key) for _ in range(2))
    assert first.json()["id"] == second.json()["id"]


def test_mutual_information_needs_images_without_a_label(api: httpx2.Client, mixed: str) -> None:
    labelled, information = stored(api, image_zip()), {"metric": "mutual_information"}
    refused = problem(post(api, [labelled], objective=information), 422, "unlabelled_needed", "objective.metric")
    assert "nll" in refused["detail"]
    assert post(api, [mixed], objective=information).status_code == 202
    constraint = {"at_least": 0.5, "metric": "mutual_information"}
    problem(post(api, [mixed], constraints=[constraint]), 422, "invalid_request")


@pytest.mark.parametrize("prior", ["uniform", {"Bag": 0.5}, {"Bag": 0.5, "Coat": 0.25}])
def test_a_prior_names_classes(api: httpx2.Client, bare: str, prior: object) -> None:
    asked = {"metric": "mutual_information", "prior": prior}
    assert objective(post(api, [bare], objective=asked))["prior"] == prior


@pytest.mark.parametrize(
    ("prior", "code"),
    [
        ({"Hat": 0.5}, "invalid_prior"),
        ({"Bag": 1.0}, "invalid_prior"),
        ({"Bag": 0.9, "Coat": 0.2}, "invalid_request"),
        ({"Bag": 0}, "invalid_request"),
        ({}, "invalid_request"),
        ("balanced", "invalid_request"),
    ],
)
def test_a_prior_that_makes_no_sense_is_refused(api: httpx2.Client, bare: str, prior: object, code: str) -> None:
    problem(post(api, [bare], objective={"metric": "mutual_information", "prior": prior}), 422, code)


def test_only_mutual_information_has_a_prior(api: httpx2.Client, mixed: str) -> None:
    asked = {"metric": "nll", "prior": {"Bag": 0.5}}
    problem(post(api, [mixed], objective=asked), 422, "invalid_request")


@pytest.mark.parametrize("search", [{"strategy": "race"}, {"strategy": "grid", "prune": True}])
def test_what_mutual_information_chooses_is_not_dropped_early(
    api: httpx2.Client, mixed: str, search: dict[str, object]
) -> None:
    refused = problem(post(api, [mixed], search=search), 422, "invalid_request", "search")
    assert "nll" in refused["detail"]
    assert post(api, [mixed], search=search, objective={"metric": "nll"}).status_code == 202


def test_a_budget_cannot_wait_for_an_interval_that_mutual_information_lacks(api: httpx2.Client, bare: str) -> None:
    search = {"strategy": "bayes", "budget": {"interval": 0.01}}
    problem(post(api, [bare], search=search), 422, "invalid_request", "search.budget.interval")
    assert post(api, [stored(api, image_zip())], search=search).status_code == 202
