"""What is wrong with a field of a document, in words that say what to change."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic_core import ErrorDetails

from service.schemas.base import NAME_PATTERN, NO_ALTERNATIVE, SHA256_PATTERN

AN_INTEGER, A_NUMBER, A_LIST = "must be an integer", "must be a number", "must be a list"
AN_OBJECT = "must be an object of fields and values"

PREDICATES: Mapping[str, str] = {
    "greater_than": "must be greater than {gt}",
    "greater_than_equal": "must be at least {ge}",
    "less_than": "must be less than {lt}",
    "less_than_equal": "must be at most {le}",
    "finite_number": "must be a finite number",
    "multiple_of": "must be a multiple of {multiple_of}",
    "int_type": AN_INTEGER,
    "int_parsing": AN_INTEGER,
    "int_parsing_size": AN_INTEGER + " of fewer digits",
    "int_from_float": AN_INTEGER,
    "float_type": A_NUMBER,
    "float_parsing": A_NUMBER,
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be text",
    "string_unicode": "must be text in UTF-8",
    "string_too_short": "must have at least {min_length} characters",
    "string_too_long": "must have at most {max_length} characters",
    "literal_error": "must be {expected}",
    "enum": "must be {expected}",
    "path_type": "must be a path",
    "list_type": A_LIST,
    "tuple_type": A_LIST,
    "too_short": "must have at least {min_length} entries, not {actual_length}",
    "too_long": "must have at most {max_length} entries",
    "dict_type": AN_OBJECT,
    "model_type": AN_OBJECT,
    "model_attributes_type": AN_OBJECT,
    "missing": "is missing: add it",
    "extra_forbidden": "is no field here: check its spelling, or leave it out",
    "union_tag_not_found": "lacks the field {discriminator}: add it",
    "union_tag_invalid": "has the {discriminator} '{tag}': take one of {expected_tags}",
}
"""What to say of a field, by pydantic's type of the error; braces hold what its context tells."""

PATTERNS: Mapping[str, str] = {
    NAME_PATTERN: "must have 1 to 64 letters, digits, dots, dashes and underscores, a letter or digit first",
    SHA256_PATTERN: "must be an id: 64 digits of 0 to 9 and a to f",
    r"^[a-z0-9][a-z0-9._-]*$": "must have small letters, digits, dots, dashes and underscores, a letter or digit first",
    r"^(best|[0-9]{1,15})$": "must be the index of a point, or best",
    r"^[0-9]{1,19}(-[0-9]{1,19})?$": "must be the id of an event",
}
"""What text of a pattern looks like."""

FRACTIONS = frozenset({"at_least", "held_out_fraction", "p"})
"""Fields that one might give in percent."""

_LARGEST_PERCENT = 100
_SHOWN = 40
_NOT_SHOWN = frozenset(
    {"missing", "extra_forbidden", "too_short", "union_tag_invalid", "union_tag_not_found", NO_ALTERNATIVE}
)
_BOUNDS = frozenset({"greater_than", "greater_than_equal", "less_than", "less_than_equal"})


def place(location: Sequence[int | str]) -> str:
    """The path of a field within its document; of a mapping's key, the path of the mapping."""
    return ".".join(map(str, location[:-2] if _is_key(location) else location))


def sentence(fault: ErrorDetails, at: str) -> str:
    """A sentence without its full stop about the field at the place ``at``, of which pydantic found ``fault``.

    A validator's own message stands as it is, behind the place if there is one.
    """
    kind = fault["type"]
    told = fault.get("ctx", {}).items()
    context = {name: f"{value:.12g}" if isinstance(value, float) else value for name, value in told}
    if kind == NO_ALTERNATIVE:
        said = fault["msg"]
    elif kind == "string_pattern_mismatch":
        said = PATTERNS.get(context["pattern"], f"must be of the form {context['pattern']}")
    elif kind in PREDICATES:
        said = PREDICATES[kind].format(**context)
    else:
        message = fault["msg"].removeprefix("Value error, ")
        return f"{at}: {message}" if at else message
    if said.startswith("must have at least 1 "):
        said = said.replace("characters", "character").replace("entries", "entry")
    whose = "has a name that " if _is_key(fault["loc"]) else ""
    return f"{at or 'this'} {whose}{said}{_percent(fault) or _given(fault)}"


def _is_key(location: Sequence[int | str]) -> bool:
    return len(location) > 1 and location[-1] == "[key]"


def _percent(fault: ErrorDetails) -> str | None:
    """What a fraction given in percent should be."""
    if fault["type"] not in {"less_than", "less_than_equal"} or FRACTIONS.isdisjoint(fault["loc"][-1:]):
        return None
    value = _number(fault["input"])
    context = fault["ctx"]
    most = float(context["le"] if "le" in context else context["lt"])
    if value is None or not 1 < value <= _LARGEST_PERCENT or value / 100 > most or value / 100 == context.get("lt"):
        return None
    return f" (a fraction): {value:g} % is {value / 100:g}"


def _number(value: Any) -> float | None:
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return None


def _given(fault: ErrorDetails) -> str:
    """What the field holds, where it is short."""
    value = fault["input"]
    if fault["type"] in _NOT_SHOWN or not isinstance(value, str | int | float):
        return ""
    if isinstance(value, int) and abs(value) >= 10**_SHOWN:  # Python refuses to write out very long integers
        return ""
    if fault["type"] in _BOUNDS or isinstance(value, float):
        shown = str(value)
    else:
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
    return f", not {shown}" if len(shown) <= _SHOWN else ""
