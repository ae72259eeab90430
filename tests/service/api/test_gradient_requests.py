"""The strategy ``gradient`` in POST /adapt."""

import json

import pytest

from tests.service.api.checks import problem
from tests.service.api.conftest import Post

THREAT = {"metric": "robust_accuracy", "threats": [{"norm": "Linf", "eps": 0.1}]}
TWO = [{"name": "right", "metric": "accuracy"}, {"name": "likely", "metric": "nll"}]


def body(**fields: object) -> str:
    search = {"strategy": "gradient"}
    return json.dumps({"pantry": "fashion", "search": search} | fields)


@pytest.mark.parametrize("fields", [{}, {"preset": "paper"}, {"objective": {"metric": "accuracy"}}])
def test_it_refines_nothing_unless_asked(adapt: Post, fields: dict[str, object]) -> None:
    request = adapt(request=body(**fields)).json()["request"]["request"]
    assert request["search"]["strategy"] == "gradient"
    assert request["refine"] == {"statistics": "source", "head": "keep", "temperature": False, "layers": "one"}


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({"refine": {"head": "auto"}}, "leave refine out"),
        ({"precision": "bfloat16"}, "leave precision out"),
        ({"objective": THREAT}, "leave threats out"),
        ({"objective": {"metric": "nll", "over_sets": "worst"}}, "leave over_sets out"),
        ({"objectives": TWO}, "give one objective"),
        ({"objective": {"metric": "mutual_information"}}, "take the metric nll"),
        ({"constraints": [{"metric": "accuracy", "at_least": 0.5}]}, "no constraints"),
    ],
)
def test_what_has_no_gradient_is_refused(adapt: Post, fields: dict[str, object], told: str) -> None:
    refused = problem(adapt(request=body(**fields)), 422, "invalid_request")
    assert told in refused["detail"]
    assert "choose the strategy bayes" in refused["detail"]


@pytest.mark.parametrize(
    ("search", "code", "told"),
    [
        ({"upper": 0.1}, "invalid_search", "widen"),
        ({"lower": 0.9, "upper": 0.5}, "invalid_request", "less than upper"),
        ({"step": 0.1}, "invalid_request", "step"),
        ({"descents": 0}, "invalid_request", "descents"),
    ],
)
def test_limits_that_make_no_sense_are_refused(adapt: Post, search: dict[str, object], code: str, told: str) -> None:
    refused = problem(adapt(request=body(search={"strategy": "gradient"} | search)), 422, code)
    assert told in f"{refused['detail']} {refused['param']}"
