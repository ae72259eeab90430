"""What all documents share."""

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, GetCoreSchemaHandler, StringConstraints
from pydantic_core import CoreSchema

NAME_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$"
SHA256_PATTERN = r"^[0-9a-f]{64}$"


class Document(BaseModel):
    """A strict document: unknown fields are errors, so a typing mistake never passes unnoticed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def _as_utc(value: datetime) -> datetime:
    return value.astimezone(UTC)


Timestamp = Annotated[datetime, AfterValidator(_as_utc)]
Sha256 = Annotated[str, StringConstraints(pattern=SHA256_PATTERN)]
Name = Annotated[str, StringConstraints(pattern=NAME_PATTERN)]


NO_ALTERNATIVE = "no_alternative"
"""The type of the error of a value that is none of a field's ``Alternatives``."""


@dataclass(frozen=True)
class Alternatives:
    """Annotates a union: one error that says what the value ``must`` be, instead of one for each member."""

    must: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> CoreSchema:
        """The union's schema with this error."""
        schema = handler(source)
        if schema["type"] != "union":
            raise TypeError(f"{source} is no union: annotate one")
        return {**schema, "custom_error_type": NO_ALTERNATIVE, "custom_error_message": self.must}


def utc_now() -> datetime:
    """The present time with its zone."""
    return datetime.now(UTC)
