"""What a search knows of one soup."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Evaluation:
    """One soup's score. ``score`` is None when its logits were not finite or it was dropped before its last image.

    ``violation`` says by how much it violates the constraints, ``objectives`` holds the values of several objectives.
    """

    weights: tuple[float, ...]
    score: float | None
    nll: float | None = None
    violation: float = 0.0
    objectives: Mapping[str, float] = field(default_factory=dict, hash=False)
