"""Ingredients of both kinds: with batch normalisation and without."""

from tests.workers.evaluation.conftest import stack

__all__ = ["stack"]
