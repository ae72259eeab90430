"""The OpenAPI document: an example for each call that fits its schema, and nothing undocumented."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator
from starlette.routing import Mount

from service.api.app import create_app
from service.settings import Settings

API_DOCUMENT = Path(__file__).parents[3] / "docs" / "api.md"
BINARY = {"application/octet-stream", "application/zip"}

Content = tuple[str, str, dict[str, Any]]


@pytest.fixture(scope="module")
def document(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    app = create_app(Settings(_env_file=None, data_dir=tmp_path_factory.mktemp("data")))
    return json.loads(json.dumps(app.openapi()))  # type: ignore[no-any-return]


def operations(document: dict[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            yield f"{method.upper()} {path}", operation


def contents(document: dict[str, Any]) -> Iterator[Content]:
    """Every body of every call: its name, media type and description."""
    for name, operation in operations(document):
        bodies = {"request": operation.get("requestBody", {}), **operation["responses"]}
        for which, body in bodies.items():
            for media_type, content in body.get("content", {}).items():
                yield f"{name} {which}", media_type, content


def examples(content: dict[str, Any]) -> list[Any]:
    named = [example["value"] for example in content.get("examples", {}).values()]
    return named + ([content["example"]] if "example" in content else [])


def test_every_body_has_an_example(document: dict[str, Any]) -> None:
    missing = [
        (name, media_type)
        for name, media_type, content in contents(document)
        if media_type not in BINARY and not examples(content)
    ]
    assert missing == []


def test_every_example_fits_its_schema(document: dict[str, Any]) -> None:
    checked = 0
    for name, media_type, content in contents(document):
        schema = {**content["schema"], "components": document["components"]}
        for example in examples(content):
            faults = [fault.message for fault in Draft202012Validator(schema).iter_errors(example)]
            assert faults == [], (name, media_type)
            checked += 1
    assert checked > 60


def test_every_call_is_described(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        assert operation["summary"], name
        assert operation["description"], name
        assert operation["tags"], name
        assert any(status.startswith("2") for status in operation["responses"]), name


def test_every_problem_is_a_problem_document(document: dict[str, Any]) -> None:
    for name, operation in operations(document):
        for status, response in operation["responses"].items():
            if status >= "400":
                assert set(response["content"]) == {"application/problem+json"}, name
                for example in examples(response["content"]["application/problem+json"]):
                    assert str(example["status"]) == status, name


def test_a_job_that_was_removed_is_told_by_every_call_on_one(document: dict[str, Any]) -> None:
    calls = {name: call["responses"] for name, call in operations(document) if name.endswith("/{job_id}")}
    calls |= {name: call["responses"] for name, call in operations(document) if "/jobs/{job_id}/" in name}
    pages = {"GET /jobs/{job_id}/view"}
    assert len(calls) >= 8
    assert {name for name, responses in calls.items() if "410" not in responses} - pages == set()


def test_the_schemas_are_valid(document: dict[str, Any]) -> None:
    for schema in document["components"]["schemas"].values():
        Draft202012Validator.check_schema(schema)
    referred = set(re.findall(r"#/components/schemas/([\w-]+)", json.dumps(document)))
    assert referred <= set(document["components"]["schemas"])


def test_no_call_is_undocumented(document: dict[str, Any]) -> None:
    text = API_DOCUMENT.read_text("utf-8")
    documented = set(re.findall(r"^#+ `([A-Z]+ /[^`]*)`", text, flags=re.MULTILINE))
    assert {name for name, _ in operations(document)} == documented


def test_every_route_is_in_the_document(document: dict[str, Any], tmp_path: Path) -> None:
    app = create_app(Settings(_env_file=None, data_dir=tmp_path))
    hidden = {"/openapi.json"}
    paths = {getattr(route, "path", "") for route in app.routes if not isinstance(route, Mount)} - hidden
    assert {path for path in paths if path} <= set(document["paths"])


def test_every_error_code_of_the_examples_is_documented(document: dict[str, Any]) -> None:
    text = API_DOCUMENT.read_text("utf-8")
    codes = {
        example["code"]
        for _, media_type, content in contents(document)
        if media_type == "application/problem+json"
        for example in examples(content)
    }
    assert {code for code in codes if f"`{code}`" not in text} == set()
