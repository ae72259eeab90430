"""Where soup weights may lie."""

from dataclasses import dataclass

from search.evaluation import Weights

TOLERANCE = 1e-9


class SearchError(ValueError):
    """The search is impossible; the message says what to change. ``code`` is stable."""

    code = "invalid_search"


@dataclass(frozen=True)
class Space:
    """The affine weights of ``size`` ingredients: their sum is 1 and each lies within its bounds.

    ``bounds`` holds the least and the greatest weight of each ingredient, which are equal for a fixed weight.
    """

    size: int
    bounds: tuple[tuple[float, float], ...] | None = None

    def __post_init__(self) -> None:
        if self.size < 1:
            raise SearchError(f"a soup needs at least one ingredient, not {self.size}")
        if self.bounds is None:
            return
        if len(self.bounds) != self.size:
            raise SearchError(f"{self.size} ingredients have {self.size} bounds, not {len(self.bounds)}")
        if any(low > high for low, high in self.bounds):
            raise SearchError("give the least weight of an ingredient first, and then its greatest")
        low, high = (sum(each) for each in zip(*self.bounds, strict=True))
        if low > 1 + TOLERANCE or high < 1 - TOLERANCE:
            raise SearchError(f"weights within these bounds sum to {low:g} at least and {high:g} at most, never to 1")

    @property
    def uniform(self) -> Weights:
        """The weights of the uniform soup, whether or not the bounds admit it."""
        return (1 / self.size,) * self.size

    def __contains__(self, weights: Weights) -> bool:
        if len(weights) != self.size or abs(sum(weights) - 1) > TOLERANCE * self.size:
            return False
        return self.bounds is None or all(
            low - TOLERANCE <= weight <= high + TOLERANCE
            for weight, (low, high) in zip(weights, self.bounds, strict=True)
        )
