"""Failures of evaluations."""


class EvaluationMemoryError(MemoryError):
    """Not even one image fits into memory beside the model; the message says what to change."""
