"""Answers of the health checks."""

from typing import Literal

from pydantic import Field

from service.schemas.base import Document


class Health(Document):
    """The process is alive."""

    status: Literal["ok"] = "ok"


class Readiness(Document):
    """The process can take jobs."""

    status: Literal["ready"] = "ready"
    checks: dict[str, Literal["ok"]]
    workers: int = Field(description="Number of live supervisors; if there are none, accepted jobs wait.")
