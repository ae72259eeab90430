"""Which of several soups is best, without ambiguity."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

NLL_DIGITS = 6
"""Negative log-likelihoods that agree to this many decimals are tied; further decimals are float32 rounding."""


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
        """Mean negative log-likelihood, in nats per image."""

    @property
    def violation(self) -> float:
        """Total violation of the constraints; 0 if they all hold or there are none."""

    @property
    def objectives(self) -> Mapping[str, float]:
        """With several objectives, the value of each in order, ``score`` first; otherwise empty."""


@dataclass(frozen=True)
class Evaluation:
    """A soup as it is ranked. ``score`` is None if the soup must not be best: not finite, or not seen on all images."""

    weights: tuple[float, ...]
    score: float | None
    nll: float | None = None
    violation: float = 0.0
    objectives: Mapping[str, float] = field(default_factory=dict, hash=False)


S = TypeVar("S", bound=Scored)
SortKey = tuple[float, float, tuple[float, ...], float, float, tuple[float, ...]]


def distance_to_uniform(weights: tuple[float, ...] | list[float]) -> float:
    """Squared euclidean distance of the weights from the uniform soup's, rounded to 1e-9."""
    share = 1 / len(weights)
    return round(sum((w - share) ** 2 for w in weights), 9)


def sort_key(soup: Scored) -> SortKey:
    """Sorts best first: by least violation of the constraints, then score, then the other objectives in order.

    Ties are broken by negative log-likelihood, then by closeness to the uniform soup, then in lexicographic order.
    """
    if soup.score is None:
        return (float("inf"), float("inf"), (), float("inf"), float("inf"), tuple(soup.weights))
    others = tuple(-value for value in soup.objectives.values())
    nll = float("inf") if soup.nll is None else round(soup.nll, NLL_DIGITS)
    return (soup.violation, -soup.score, others, nll, distance_to_uniform(soup.weights), tuple(soup.weights))


def rank(soups: Iterable[S]) -> list[S]:
    """The soups that have a score, best first; the order of the input never matters."""
    return sorted((soup for soup in soups if soup.score is not None), key=sort_key)
