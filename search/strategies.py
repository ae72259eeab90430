"""Strategies: how soup weights are proposed."""

from abc import ABC, abstractmethod
from collections.abc import Iterable
from itertools import islice

import numpy as np
from numpy.typing import NDArray

from search.evaluation import Evaluation

Weights = tuple[float, ...]


class Strategy(ABC):
    """Proposes soup weights and learns from their evaluation.

    ``ask`` and ``tell`` may be called in any interleaving, from one thread. A strategy is deterministic: the same
    arguments and the same sequence of calls give the same proposals. It proposes each weights vector at most once.
    """

    @abstractmethod
    def ask(self, count: int) -> list[Weights]:
        """Up to ``count`` new weights vectors (each sums to 1). Empty: nothing to propose now.

        When it is empty while nothing that was asked for is outstanding, the search has ended.
        """

    @abstractmethod
    def tell(self, evaluations: Iterable[Evaluation]) -> None:
        """Learn the evaluations of weights, proposed here or known from elsewhere (a journal)."""

    @property
    @abstractmethod
    def total(self) -> int:
        """Number of evaluations after which the search ends."""


class FixedStrategy(Strategy):
    """Proposes the rows of an array of shape (points, ingredients), in their order, but for those already told."""

    def __init__(self, weights: NDArray[np.float64]) -> None:
        self._pending = dict.fromkeys(tuple(map(float, row)) for row in weights)
        self._total = len(self._pending)

    def ask(self, count: int) -> list[Weights]:
        """The next ``count`` rows."""
        batch = list(islice(self._pending, count))
        for weights in batch:
            del self._pending[weights]
        return batch

    def tell(self, evaluations: Iterable[Evaluation]) -> None:
        """Leave out what is known."""
        for evaluation in evaluations:
            self._pending.pop(evaluation.weights, None)

    @property
    def total(self) -> int:
        """Number of rows."""
        return self._total
