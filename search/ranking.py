"""Which of several soups is best, without ambiguity."""

from collections.abc import Iterable
from typing import Protocol, TypeVar

NLL_DIGITS = 6
"""Negative log-likelihoods that agree to this many decimals are tied: beyond them lies the rounding of float32."""


class Scored(Protocol):
    """Anything with soup weights, a score and a negative log-likelihood."""

    @property
    def weights(self) -> tuple[float, ...] | list[float]:
        """Soup weights in the pantry's order."""

    @property
    def score(self) -> float | None:
        """Greater is better; None is never best."""

    @property
    def nll(self) -> float | None:
        """Mean negative log-likelihood, nats an image."""


S = TypeVar("S", bound=Scored)


def distance_to_uniform(weights: tuple[float, ...] | list[float]) -> float:
    """Squared euclidean distance of the weights from the uniform soup's, rounded to 1e-9."""
    share = 1 / len(weights)
    return round(sum((w - share) ** 2 for w in weights), 9)


def sort_key(soup: Scored) -> tuple[float, float, float, tuple[float, ...]]:
    """Best first: score, then negative log-likelihood, then closeness to the uniform soup, then lexicographic order."""
    if soup.score is None:
        return (float("inf"), float("inf"), float("inf"), tuple(soup.weights))
    nll = float("inf") if soup.nll is None else round(soup.nll, NLL_DIGITS)
    return (-soup.score, nll, distance_to_uniform(soup.weights), tuple(soup.weights))


def rank(soups: Iterable[S]) -> list[S]:
    """The soups that have a score, best first; the order of the input never matters."""
    return sorted((soup for soup in soups if soup.score is not None), key=sort_key)
