"""What every problem document holds."""

from typing import Any

import httpx2


def problem(answer: httpx2.Response, status: int, code: str, param: str | None = None) -> dict[str, Any]:
    """The problem that ``answer`` is, checked."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = answer.json()
    assert document["status"] == status
    assert document["code"] == code, document
    assert document["type"].endswith(code)
    assert document["title"]
    assert len(document["detail"]) > 20
    if param is not None:
        assert document["param"] == param, document
    return document
