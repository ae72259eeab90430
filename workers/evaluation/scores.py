"""What an evaluation returns."""

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ImageDetail:
    """Of each image seen: ``correct`` (N,), ``nll`` in nats (N,) and, when asked for, ``logits`` (N, classes)."""

    correct: NDArray[np.bool_]
    nll: NDArray[np.float64]
    logits: NDArray[np.float32] | None = None


@dataclass(frozen=True)
class SetScore:
    """One model on one set: ``correct`` of the ``seen`` among ``total`` images, and the sum of their nll in nats.

    ``nll_sum`` is infinite when a seen image had a logit that is not finite. ``robust`` (threats, N) are the images
    still right after each attack; None where there were no attacks, or they did not end.
    """

    correct: int
    seen: int
    total: int
    nll_sum: float
    detail: ImageDetail | None = None
    robust: NDArray[np.bool_] | None = None

    @property
    def accuracy(self) -> float:
        """Fraction of the seen images that are right."""
        return self.correct / self.seen if self.seen else 0.0

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of the seen images, in nats."""
        return self.nll_sum / self.seen if self.seen else float("inf")


@dataclass(frozen=True)
class Passes:
    """Passes of one image through a model that attacks spent."""

    forward: int = 0
    backward: int = 0


@dataclass(frozen=True)
class ModelScore:
    """One model on all sets, in their order.

    ``finite`` is False when any logit was not: such a model must never be best. ``complete`` is False when the
    evaluation ended before the last image or attack. ``attacks`` are the passes spent on attacks alone.
    """

    sets: tuple[SetScore, ...]
    finite: bool
    complete: bool
    attacks: Passes = field(default=Passes(), kw_only=True)

    @property
    def images(self) -> int:
        """Forward passes of one image."""
        return sum(score.seen for score in self.sets) + self.attacks.forward


@dataclass(frozen=True)
class SoupScore(ModelScore):
    """The soup of ``weights`` on all sets; ``seconds`` is wall time, ``floored_channels`` those of ``SoupFlags``."""

    weights: tuple[float, ...]
    floored_channels: int
    seconds: float
