"""Outcomes compared bit for bit."""

from dataclasses import fields
from typing import Any

from numpy.typing import NDArray

from search.evaluation import Outcome, SetOutcome


def assert_same(one: Outcome, other: Outcome) -> None:
    """The same outcome but for the time that it took: arrays in type, shape and every bit."""
    assert (one.status, one.passes, one.floored_channels) == (other.status, other.passes, other.floored_channels)
    for ours, theirs in zip(one.sets, other.sets, strict=True):
        for field in fields(SetOutcome):
            assert _bits(getattr(ours, field.name)) == _bits(getattr(theirs, field.name)), field.name


def _bits(value: "NDArray[Any] | int | None") -> object:
    return value if value is None or isinstance(value, int) else (value.dtype, value.shape, value.tobytes())
