"""Command-line options as the limits of ingredients' weights in a request."""

from collections.abc import Sequence
from typing import Any

from soupsearch.cli.exits import CommandError


def limits(fixed: Sequence[str], bounds: Sequence[str]) -> dict[str, Any]:
    """The fields ``fixed`` and ``bounds`` of a search, those that are not empty.

    ``fixed`` are written NAME=WEIGHT, ``bounds`` NAME=LOW:HIGH. Raises CommandError for what cannot be read.
    """
    weights = dict(_fixed(text) for text in fixed)
    pairs = dict(_bounds(text) for text in bounds)
    return {key: value for key, value in (("fixed", weights), ("bounds", pairs)) if value}


def _fixed(text: str) -> tuple[str, float]:
    name, _, weight = text.rpartition("=")
    try:
        return _named(name, text), float(weight)
    except ValueError as error:
        raise CommandError(f"--fix {text}: write it as NAME=WEIGHT, say linf=0.2") from error


def _bounds(text: str) -> tuple[str, tuple[float, float]]:
    name, _, pair = text.rpartition("=")
    low, _, high = pair.partition(":")
    try:
        return _named(name, text), (float(low), float(high))
    except ValueError as error:
        raise CommandError(f"--bound {text}: write it as NAME=LOW:HIGH, say nominal=0:1") from error


def _named(name: str, text: str) -> str:
    if not name:
        raise ValueError(f"{text} names no ingredient")
    return name
