"""Refinements in POST /adapt."""

import json
from typing import Any

import pytest

from tests.inputs import LABELS, image_zip
from tests.service.api.checks import problem
from tests.service.api.conftest import Post

THREAT = {"metric": "robust_accuracy", "threats": [{"norm": "Linf", "eps": 0.1}]}
MAP = {"worn": [0, 1, 2], "carried": "Bag"}


def body(**fields: object) -> str:
    return json.dumps({"pantry": "fashion"} | fields)


PRUNED = {"search": {"strategy": "grid", "prune": True}}


@pytest.mark.parametrize(
    "fields",
    [
        {"preset": "paper"},
        {"objective": THREAT},
        {"precision": "bfloat16"},
        PRUNED,
        {"search": {"strategy": "race"}},
    ],
)
def test_the_papers_soups_and_those_that_cannot_be_are_not_refined(adapt: Post, fields: dict[str, object]) -> None:
    request = adapt(request=body(**fields)).json()["request"]["request"]
    assert request["refine"] == {"statistics": "source", "head": "keep", "temperature": False, "layers": "one"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"objective": THREAT}, "threats"),
        ({"constraints": [THREAT | {"at_least": 0.1}]}, "threats"),
        ({"precision": "bfloat16"}, "precision"),
        (PRUNED, "prune"),
        ({"search": {"strategy": "race"}}, "race"),
    ],
)
@pytest.mark.parametrize("refine", [{"statistics": "auto"}, {"head": "refit"}, {"temperature": True}])
def test_threats_coarse_arithmetic_and_dropped_soups_are_refused(
    adapt: Post, fields: dict[str, object], told: str, refine: dict[str, object]
) -> None:
    refused = problem(adapt(request=body(refine=refine, **fields)), 422, "invalid_request")
    assert told in refused["detail"]
    assert "leave" in refused["detail"]


LAYERS = {"layers": "auto"}
WORST = {"metric": "nll", "over_sets": "worst"}
NAMED = [{"name": "first", "metric": "accuracy"}, {"name": "second", "metric": "nll"}]


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"refine": LAYERS | {"statistics": "adapted"}}, "leave out statistics"),
        ({"refine": LAYERS | {"head": "auto"}}, "leave out statistics"),
        ({"refine": LAYERS | {"temperature": True}}, "leave out statistics"),
        ({"refine": LAYERS, "objective": THREAT}, "threats"),
        ({"refine": LAYERS, "precision": "bfloat16"}, "precision"),
        ({"refine": LAYERS, "objective": WORST}, "over_sets"),
        ({"refine": LAYERS, "objectives": NAMED}, "one objective"),
        ({"refine": LAYERS, "constraints": [{"metric": "accuracy", "at_least": 0.5}]}, "no constraints"),
        ({"refine": LAYERS, "objective": {"metric": "mutual_information"}}, "labels"),
    ],
)
def test_layers_are_fitted_to_one_likelihood_of_plain_soups(adapt: Post, fields: dict[str, object], told: str) -> None:
    refused = problem(adapt(request=body(**fields)), 422, "invalid_request")
    assert told in refused["detail"]
    assert "leave" in refused["detail"]


@pytest.mark.parametrize("fields", [PRUNED, {"search": {"strategy": "gradient"}}, {"preset": "paper"}])
def test_layers_follow_any_search(adapt: Post, fields: dict[str, object]) -> None:
    request = adapt(request=body(refine=LAYERS, **fields), archive=image_zip(LABELS)).json()["request"]["request"]
    assert request["refine"] == {"statistics": "source", "head": "keep", "temperature": False, "layers": "auto"}


@pytest.mark.parametrize("refine", [{"statistics": "none"}, {"head": "auto", "bias": True}, {"temperature": 2.0}])
def test_what_makes_no_sense_is_refused(adapt: Post, refine: dict[str, object]) -> None:
    refused = problem(adapt(request=body(refine=refine)), 422, "invalid_request")
    assert "refine" in refused["param"]


@pytest.mark.parametrize(
    ("fields", "classes", "code", "told"),
    [
        ({"refine": {"statistics": "adapted"}}, LABELS, "statistics_not_adaptable", "no BatchNorm"),
        ({"refine": {"head": "refit"}}, LABELS[:2], "head_not_refittable", "label more images"),
        ({"refine": {"head": "refit"}, "held_out_fraction": 0.9}, LABELS, "head_not_refittable", "hold fewer out"),
        ({"refine": {"head": "refit"}, "label_map": MAP}, tuple(MAP), "head_not_refittable", "label map"),
        ({"refine": {"temperature": True}}, LABELS[:3], "temperature_not_fittable", "10 labelled images"),
        ({"refine": {"layers": "auto"}}, LABELS[:3], "layers_not_fittable", "10 labelled images"),
    ],
)
def test_what_pantry_or_labels_do_not_allow_is_refused(
    adapt: Post,
    fields: dict[str, Any],
    classes: tuple[str, ...],
    code: str,
    told: str,
) -> None:
    each = 3 if "label_map" not in fields else 10
    answer = adapt(request=body(**fields), archive=image_zip(classes, each=each))
    refused = problem(answer, 422, code, f"refine.{next(iter(fields['refine']))}")
    assert told in refused["detail"]


def test_auto_and_what_is_possible_are_accepted(adapt: Post) -> None:
    auto = {"statistics": "auto", "head": "auto"}
    assert adapt(request=body(refine=auto)).status_code == 202
    refit = {"head": "refit", "temperature": True}
    assert adapt(request=body(refine=refit), archive=image_zip(LABELS)).status_code == 202


def test_a_default_request_that_refines_nothing_because_it_drops_soups_is_warned_of(adapt: Post) -> None:
    def codes(**fields: object) -> set[str]:
        answer = adapt(request=body(**fields), params={"dry_run": "true"})
        return {warning["code"] for warning in answer.json()["warnings"]}

    assert "not_refined" in codes(**PRUNED)
    assert "not_refined" not in codes()
    assert "not_refined" not in codes(preset="paper", **PRUNED)
