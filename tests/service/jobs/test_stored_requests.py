"""A job keeps the meaning that its request had when it was accepted, whatever a later release has for defaults."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from pydantic import BaseModel

from search.strategy import kinds
from service.jobs.store import JobStore, NewJob
from service.schemas import request as request_module
from service.schemas.job import RequestEcho
from service.schemas.request import AdaptRequest
from tests.service.jobs.samples import request_echo

THREAT = {"norm": "L2", "eps": 1.0}
REQUESTS: list[dict[str, Any]] = [
    *({"search": {"strategy": name}} for name in kinds()),
    {},
    {"preset": "paper"},
    {"search": {"budget": {"seconds": 60}}},
    {"objective": {"metric": "robust_accuracy", "threats": [THREAT]}, "constraints": [{"at_least": 0.5}]},
    {"objectives": [{"name": "clean"}, {"name": "robust", "metric": "robust_accuracy", "threats": [THREAT]}]},
]


def submitted(store: JobStore, fields: dict[str, Any]) -> tuple[str, RequestEcho]:
    echo = request_echo().model_copy(update={"request": AdaptRequest.model_validate({"pantry": "fashion"} | fields)})
    return store.submit(NewJob(echo), idempotency_key=None, body_digest="body").job_id, echo


def left_out(document: Any, stored: Any) -> Iterator[tuple[str, Any]]:
    """Each field of ``document``, and of those below it, that ``stored`` lacks, with its value."""
    if isinstance(document, BaseModel):
        for name in type(document).model_fields:
            value = getattr(document, name)
            if name in stored:
                yield from left_out(value, stored[name])
            else:
                yield name, value
    elif isinstance(document, list):
        for each, its in zip(document, stored, strict=True):
            yield from left_out(each, its)


@pytest.mark.parametrize("fields", REQUESTS, ids=json.dumps)
def test_a_request_is_stored_with_every_default(job_store: JobStore, fields: dict[str, Any]) -> None:
    job_id, echo = submitted(job_store, fields)
    stored = json.loads(job_store.redis.hget(job_store.keys.job(job_id), "request") or "")
    assert [(name, value) for name, value in left_out(echo, stored) if value not in (None, {})] == []
    assert job_store.get(job_id).request == echo


@pytest.mark.parametrize("fields", REQUESTS, ids=json.dumps)
def test_a_stored_request_does_not_follow_the_presets(
    job_store: JobStore, fields: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    job_id, echo = submitted(job_store, fields)
    other = {
        "objective": {"metric": "accuracy", "over_sets": "worst"},
        "search": {"strategy": "uniform"},
        "refine": {"statistics": "adapted", "head": "keep", "temperature": True},
    }
    monkeypatch.setattr(request_module, "_PRESETS", {"auto": other, "paper": other})
    assert job_store.get(job_id).request == echo
