"""Parts of the OpenAPI document that route signatures lack: examples, problems, bodies that routes parse."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import BaseModel
from pydantic.json_schema import models_json_schema
from starlette.responses import JSONResponse

from service.api.problems import PROBLEM_MEDIA_TYPE, UNAVAILABLE, make_problem
from service.errors import SoupsearchError, Unavailable
from service.schemas.adaptation_set import AdaptationSetRequest
from service.schemas.pantry import PantryRequest
from service.schemas.problem import Problem
from service.schemas.request import AdaptRequest, SuggestLabelsRequest

SCHEMA_PLACE = "#/components/schemas/{model}"
BODIES: tuple[type[BaseModel], ...] = (
    AdaptRequest,
    SuggestLabelsRequest,
    AdaptationSetRequest,
    PantryRequest,
    Problem,
)

Responses = dict[int | str, dict[str, Any]]


def reference(model: type[BaseModel]) -> dict[str, str]:
    """A reference to the schema of ``model``."""
    return {"$ref": SCHEMA_PLACE.format(model=model.__name__)}


def plain(document: BaseModel) -> Any:
    """``document`` as plain JSON values."""
    return document.model_dump(mode="json")


def answer(status: int, description: str, example: BaseModel | Mapping[str, Any], **headers: str) -> Responses:
    """A JSON answer with its example and the meaning of its ``headers`` (underscores stand for dashes)."""
    body = plain(example) if isinstance(example, BaseModel) else dict(example)
    described = {
        name.replace("_", "-"): {"description": text, "schema": {"type": "string"}} for name, text in headers.items()
    }
    content = {"application/json": {"example": body}}
    return {status: {"description": description, "content": content, "headers": described}}


def bare(status: int, description: str) -> Responses:
    """An answer without a body."""
    return {status: {"description": description}}


def raw_answer(status: int, description: str, media_type: str, example: str | None = None) -> Responses:
    """An answer that is not JSON: text with an example, or bytes."""
    if example is None:
        content: dict[str, Any] = {"schema": {"type": "string", "contentMediaType": media_type}}
    else:
        content = {"schema": {"type": "string"}, "example": example}
    return {status: {"description": description, "content": {media_type: content}}}


def problems(*errors: tuple[type[SoupsearchError], str] | SoupsearchError) -> Responses:
    """The problem documents that a call may answer with, each with an example, except those common to all calls."""
    answers: Responses = {}
    for error in (*(_instance(each) for each in errors), Unavailable(UNAVAILABLE, code="job_store_unavailable")):
        _add(answers, error)
    return answers


def _instance(error: tuple[type[SoupsearchError], str] | SoupsearchError) -> SoupsearchError:
    return error if isinstance(error, SoupsearchError) else error[0](error[1])


def _add(answers: Responses, error: SoupsearchError) -> None:
    more = {"param": error.param} if error.param else {}
    problem = make_problem(error.status, error.code, error.detail, title=error.title, **more)
    entry = answers.setdefault(
        error.status,
        {
            "description": error.title,
            "content": {PROBLEM_MEDIA_TYPE: {"schema": reference(Problem), "examples": {}}},
        },
    )
    examples = entry["content"][PROBLEM_MEDIA_TYPE]["examples"]
    examples[error.code] = {"value": problem.model_dump(mode="json", exclude_none=True)}


def json_body(model: type[BaseModel], example: BaseModel) -> dict[str, Any]:
    """A body that is a JSON document."""
    return {"schema": reference(model), "example": example.model_dump(mode="json", exclude_unset=True)}


def form_body(model: type[BaseModel], example: BaseModel, file: str, *, required: bool) -> dict[str, Any]:
    """A multipart body: a JSON part ``request`` and a part ``file`` of bytes."""
    parts = {"request": reference(model), file: {"type": "string", "contentMediaType": "application/octet-stream"}}
    return {
        "schema": {"type": "object", "properties": parts, "required": ["request", file] if required else [file]},
        "encoding": {"request": {"contentType": "application/json"}},
        "example": {"request": example.model_dump(mode="json", exclude_unset=True), file: f"(bytes of {file}.zip)"},
    }


def request_body(**contents: dict[str, Any]) -> dict[str, Any]:
    """The part of an operation that describes its body; keys ``json`` and ``form``."""
    media = {"json": "application/json", "form": "multipart/form-data"}
    return {"requestBody": {"required": True, "content": {media[key]: value for key, value in contents.items()}}}


def install_openapi(app: FastAPI) -> None:
    """Serve a complete description of ``app`` at ``/openapi.json``, built on the first request."""

    def describe() -> dict[str, Any]:
        if app.openapi_schema is None:
            app.openapi_schema = _describe(app)
        return app.openapi_schema

    def send() -> JSONResponse:
        return JSONResponse(describe())

    app.openapi = describe  # type: ignore[method-assign]
    app.get("/openapi.json", include_in_schema=False)(send)


def _describe(app: FastAPI) -> dict[str, Any]:
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary=app.summary,
        description=app.description,
        routes=app.routes,
        tags=app.openapi_tags,
        separate_input_output_schemas=False,
    )
    schemas = document.setdefault("components", {}).setdefault("schemas", {})
    _, definitions = models_json_schema([(model, "validation") for model in BODIES], ref_template=SCHEMA_PLACE)
    for name, schema in definitions["$defs"].items():
        schemas.setdefault(name, schema)
    _drop_framework_errors(document)
    return document


def _drop_framework_errors(document: dict[str, Any]) -> None:
    """Remove the framework's own form of 422, which this service never sends."""
    for operations in document["paths"].values():
        for operation in operations.values():
            unprocessable = operation["responses"].get("422", {}).get("content", {})
            unprocessable.pop("application/json", None)
            if "422" in operation["responses"] and not unprocessable:
                del operation["responses"]["422"]
    for name in ("HTTPValidationError", "ValidationError"):
        document["components"]["schemas"].pop(name, None)
