"""An attack: a threat model and how it is tried, by APGD. Without torch: tasks carry it, and they start sooner."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

from workers.attacks.threat import Threat

LossName = Literal["ce", "dlr", "targeted-ce", "targeted-dlr"]
LOSS_NAMES: tuple[LossName, ...] = get_args(LossName)
FEWEST_CLASSES: dict[LossName, int] = {"ce": 2, "dlr": 3, "targeted-ce": 2, "targeted-dlr": 4}
"""Classes that each loss needs: the difference of logits ratio divides by a distance of the greatest ones."""

Goal = Literal["first_success", "latest_success", "best_loss"]
GOALS: tuple[Goal, ...] = get_args(Goal)


@dataclass(frozen=True)
class Attack:
    """APGD within ``threat``.

    ``steps`` a run; ``restarts`` runs from random starts, for each target; ``targets`` is the most target classes
    that a targeted loss tries, likeliest first; ``larger_radii`` spends six tenths of the steps of an l_1 run at
    three times and twice the radius. ``goal``: see ``ascend``; ``best_loss`` attacks every image, the others only
    images still classified right. Raises ValueError for what is out of range, and for larger radii in another norm
    than l_1 or with so few steps that none would be left for the radius itself.
    """

    threat: Threat
    steps: int = 40
    loss: LossName = "ce"
    restarts: int = 1
    targets: int = 9
    larger_radii: bool = False
    goal: Goal = "first_success"

    def __post_init__(self) -> None:
        for name in ("steps", "restarts", "targets"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, not {getattr(self, name)}")
        if self.loss not in LOSS_NAMES:
            raise ValueError(f"unknown loss {self.loss!r}: use one of {', '.join(LOSS_NAMES)}")
        if self.goal not in GOALS:
            raise ValueError(f"unknown goal {self.goal!r}: use one of {', '.join(GOALS)}")
        if self.larger_radii and self.threat.norm != "L1":
            raise ValueError(f"larger radii first is an l_1 attack: turn it off for {self.threat}")
        if self.stages[-1][1] < 1:
            raise ValueError(f"{self.steps} steps are too few for larger radii first: use at least 5")

    @property
    def targeted(self) -> bool:
        """Whether the loss pulls towards a target class."""
        return self.loss.startswith("targeted")

    @property
    def stages(self) -> list[tuple[Threat, int]]:
        """The stages of a run, each with its number of steps: the threat alone, or three times and twice the radius
        first ("Mind the box", Croce and Hein, ICML 2021, section 5.2).
        """
        if not self.larger_radii:
            return [(self.threat, self.steps)]
        early = math.ceil(0.3 * self.steps)
        wider = [(Threat("L1", factor * self.threat.eps), early) for factor in (3, 2)]
        return [*wider, (self.threat, self.steps - 2 * early)]


def attacks_on(
    threats: Sequence[Threat],
    losses: Sequence[LossName] = ("ce",),
    *,
    steps: int = 40,
    restarts: int = 1,
    targets: int = 9,
    larger_radii: bool = False,
) -> list[Attack]:
    """Every threat with every loss; ``larger_radii`` goes to the l_1 threats alone, where it is defined."""
    return [
        Attack(threat, steps, loss, restarts, targets, larger_radii and threat.norm == "L1")
        for threat in threats
        for loss in losses
    ]
