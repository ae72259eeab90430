"""Errors on the wire: RFC 9457 problem details."""

from pydantic import BaseModel, ConfigDict, Field


class Problem(BaseModel):
    """An ``application/problem+json`` document."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(description="A stable URI for the kind of problem.")
    title: str
    status: int
    code: str = Field(description="Stable, for programs.")
    detail: str = Field(description="What is wrong here and what to change.")
    param: str | None = Field(default=None, description="The field, part or header at fault.")
    instance: str | None = None
