"""Failures of evaluations."""

from collections.abc import Callable

Stop = Callable[[], bool]
"""Whether to stop now: asked before each part of an evaluation."""


class EvaluationMemoryError(MemoryError):
    """Not even one image fits into memory beside the model; the message says what to change."""


class EvaluationStopped(Exception):
    """The caller asked to stop before the evaluation was whole; what there was of it is lost."""
