"""What users read about a field at fault."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ValidationError

from lab.study.config import StudyConfig
from lab.training.recipe import IngredientRecipe, PantryRecipe
from service.schemas.adaptation_set import AdaptationSetRequest, Preprocessing
from service.schemas.base import NO_ALTERNATIVE
from service.schemas.request import AdaptRequest, SuggestLabelsRequest
from service.schemas.wording import PATTERNS, PREDICATES, place, sentence
from service.settings import Settings

OWN = {NO_ALTERNATIVE, "string_pattern_mismatch", "value_error"}
READ: tuple[type[BaseModel], ...] = (
    AdaptRequest,
    SuggestLabelsRequest,
    AdaptationSetRequest,
    Preprocessing,
    Settings,
    IngredientRecipe,
    PantryRecipe,
    StudyConfig,
)
"""The documents that users write."""

SCALAR = st.none() | st.booleans() | st.integers(-3, 10**30) | st.floats() | st.text(max_size=3)
SMALL = st.recursive(SCALAR, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner))


def faults(model: type[BaseModel], document: Any) -> list[Any]:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(document)
    return list(caught.value.errors())


def told(**fields: Any) -> str:
    (fault,) = faults(AdaptRequest, {"pantry": "fashion"} | fields)
    return sentence(fault, place(fault["loc"]))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"constraints": [{"at_least": 85}]}, "constraints.0.at_least must be at most 1 (a fraction): 85 % is 0.85"),
        ({"constraints": [{"at_least": 850}]}, "constraints.0.at_least must be at most 1, not 850"),
        ({"held_out_fraction": 20.0}, "held_out_fraction must be at most 0.9 (a fraction): 20 % is 0.2"),
        ({"held_out_fraction": 0.95}, "held_out_fraction must be at most 0.9, not 0.95"),
        ({"seed": 2**32}, "seed must be less than 4294967296, not 4294967296"),
        ({"seed": "3x"}, "seed must be an integer, not '3x'"),
        ({"top_k": [3]}, "top_k must be an integer"),
        ({"top_k": 10**5000}, "top_k must be at most 100"),
        ({"precision": 10**5000}, "precision must be 'float32' or 'bfloat16'"),
        ({"precision": True}, "precision must be 'float32' or 'bfloat16', not true"),
        ({"label_next": 1e9}, "label_next must be at most 1000, not 1000000000.0"),
        ({"refine": {"head": "x" * 99}}, "refine.head must be 'keep', 'refit' or 'auto'"),
        ({"objectives": []}, "objectives must have at least 2 entries, not 0"),
        ({"adaptation_sets": []}, "adaptation_sets must have at least 1 entry, not 0"),
        ({"adaptation_sets": ["x"]}, "adaptation_sets.0 must be an id: 64 digits of 0 to 9 and a to f, not 'x'"),
        ({"refine": 3}, "refine must be an object of fields and values, not 3"),
        ({"label_map": {"": 3}}, "label_map has a name that must have at least 1 character, not ''"),
        (
            {"label_map": {"cat": [1.5]}},
            "label_map.cat must be a class of the model, its index or name, or a list of at least one",
        ),
        (
            {"objective": {"metric": "mutual_information", "prior": {"cat": 70}}},
            "objective.prior must be 'uniform', or the share of each class by its name, a fraction above 0 and at most "
            "1: 70 % is 0.7",
        ),
    ],
)
def test_a_fault_is_told_in_plain_words(fields: dict[str, Any], words: str) -> None:
    assert told(**fields) == words


def test_missing_and_unknown_fields_are_told() -> None:
    said = [sentence(fault, place(fault["loc"])) for fault in faults(AdaptRequest, {"pantri": "fashion"})]
    assert said == ["pantry is missing: add it", "pantri is no field here: check its spelling, or leave it out"]


def test_what_a_validator_says_stands_as_it_is() -> None:
    (fault,) = faults(Settings, {"allowed_hosts": "http://x"})
    assert sentence(fault, "hosts").startswith("hosts: 'http://x' is not the name or address of a host: leave out")
    assert sentence(fault, "").startswith("'http://x' is not")


def nodes(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, each in items:
        yield from nodes(each, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    copy = dict(value) if isinstance(value, dict) else list(value)
    copy[path[0]] = replaced(value[path[0]], path[1:], other)
    return copy


WHOLE = {
    "pantry": "fashion",
    "adaptation_sets": ["0" * 64],
    "label_map": {"cat": 1},
    "objective": {"metric": "robust_accuracy", "threats": [{"norm": "L1", "eps": 3.0, "larger_radii": True}]},
    "constraints": [{"at_least": 0.5, "adaptation_sets": ["0" * 64]}],
    "search": {
        "strategy": "bayes",
        "bounds": {"linf": [0.0, 1.0]},
        "fixed": {"l1": 0.5},
        "budget": {"evaluations": 9, "seconds": 60.0},
    },
    "refine": {"statistics": "source"},
    "precision": "float32",
    "held_out_fraction": 0.1,
    "seed": 0,
}


@given(path=st.sampled_from(list(nodes(WHOLE))), other=SMALL)
def test_no_request_is_refused_in_other_words(path: tuple[Any, ...], other: Any) -> None:
    try:
        AdaptRequest.model_validate_json(json.dumps(replaced(WHOLE, path, other)))
    except ValidationError as error:
        for fault in error.errors():
            assert fault["type"] in PREDICATES or fault["type"] in OWN, fault
            assert sentence(fault, "x").startswith("x")


@given(model=st.sampled_from(READ), value=SMALL, data=st.data())
def test_no_document_is_refused_in_other_words(model: type[BaseModel], value: Any, data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(model.model_fields)))
    try:
        model.model_validate({name: value})
    except ValidationError as error:
        for fault in error.errors():
            assert fault["type"] in PREDICATES or fault["type"] in OWN, fault


@pytest.mark.parametrize("model", READ)
def test_patterns_are_told_in_words(model: type[BaseModel]) -> None:
    schema = model.model_json_schema()
    patterns = {node[-1] for node in nodes(schema) if node and node[-1] == "pattern"}
    assert all(at(schema, node) in PATTERNS for node in nodes(schema) if node and node[-1] == "pattern"), patterns


def at(value: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        value = value[key]
    return value


def test_no_percent_is_advised_that_would_be_refused_again() -> None:
    with pytest.raises(ValidationError) as caught:
        AdaptRequest.model_validate({"pantry": "fashion", "held_out_fraction": 95})
    [fault] = caught.value.errors()
    assert sentence(fault, place(fault["loc"])) == "held_out_fraction must be at most 0.9, not 95"
