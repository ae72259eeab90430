"""What a search knows of one soup."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Evaluation:
    """One soup's score. ``score`` is None when its logits were not finite or it was dropped before its last image."""

    weights: tuple[float, ...]
    score: float | None
    nll: float | None = None
