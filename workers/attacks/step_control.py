"""When APGD changes its step, and to what."""

from abc import ABC, abstractmethod
from collections.abc import Iterable

import torch
from torch import Tensor

from workers.attacks.threat import Threat

RISING_FRACTION = 0.75
FIRST_DENSITY = 0.2
SPARSER = 0.95
SPARSITY_FACTOR = 1.5
SMALLEST_L1_STEP = 0.1


def checkpoints(steps: int) -> list[int]:
    """The steps, counted from 1, after which APGD looks back (Croce and Hein, ICML 2020, section 3.2)."""
    window, shortest, shrink = (max(int(part * steps), 1) for part in (0.22, 0.06, 0.03))
    found: list[int] = []
    at = window
    while at <= steps:
        found.append(at)
        window = max(window - shrink, shortest)
        at += window
    return found


class StepControl(ABC):
    """Step sizes ``size`` (N,), in units of the norm, and for l_1 the fraction ``density`` (N,) of moving entries.

    After each step ``observe`` learns which losses rose; where ``due`` says so, ``checkpoint`` then adapts the
    step sizes and tells which images go back to their best point. Rows never influence each other.
    """

    size: Tensor
    density: Tensor

    @abstractmethod
    def observe(self, rose: Tensor) -> None:
        """Learn for which images (N,) the last step raised the loss."""

    @abstractmethod
    def due(self, step: int) -> bool:
        """Whether to call ``checkpoint`` after ``step``, counted from 1."""

    @abstractmethod
    def checkpoint(self, highest: Tensor, perturbations: Tensor) -> Tensor:
        """Adapt; returns which images (N,) restart from their best point.

        ``highest`` (N,) are the best losses so far, ``perturbations`` (N, ...) lead from the images to the best points.
        """

    def select(self, kept: Tensor) -> None:
        """Forget all rows but ``kept``, which indexes dimension 0."""
        for name, value in list(vars(self).items()):
            if isinstance(value, Tensor):
                setattr(self, name, value[kept])


class HalvingControl(StepControl):
    """l_inf and l_2: halve the step of an image whose loss seldom rises, or has stalled since the last checkpoint."""

    def __init__(self, threat: Threat, steps: int, highest: Tensor) -> None:
        ends = checkpoints(steps)
        self._windows = dict(zip(ends, _differences(ends), strict=True))
        self._window = 0
        self.size = torch.full_like(highest, 2 * threat.eps)
        self.density = torch.ones_like(highest)
        self._rises = torch.zeros_like(highest)
        self._halved = torch.ones_like(highest, dtype=torch.bool)
        self._highest_before = highest

    def observe(self, rose: Tensor) -> None:
        """Count the steps that raised the loss."""
        self._rises += rose

    def due(self, step: int) -> bool:
        """At the ``checkpoints``."""
        self._window = self._windows.get(step, 0)
        return self._window > 0

    def checkpoint(self, highest: Tensor, perturbations: Tensor) -> Tensor:  # noqa: ARG002
        """Halve where the loss rose in at most three quarters of the steps since, or has stalled."""
        seldom = self._rises <= RISING_FRACTION * self._window
        stalled = ~self._halved & (highest <= self._highest_before)
        self._halved = seldom | stalled
        self.size = torch.where(self._halved, self.size / 2, self.size)
        self._highest_before = highest
        self._rises = torch.zeros_like(highest)
        return self._halved


class SparsityControl(StepControl):
    """l_1: follow the sparsity of the best perturbation; restart with the full step where it became sparser."""

    def __init__(self, threat: Threat, steps: int, perturbations: Tensor, density: float | None = None) -> None:
        """Begin with ``density``, or, if it is None, with that of the ``perturbations`` (N, ...) to go on from."""
        self._every = max(int(0.04 * steps), 1)
        self._entries = perturbations[0].numel()
        self._full = threat.eps
        self._moved = _l0(perturbations)
        self.size = torch.full_like(self._moved, threat.eps)
        self.density = self._moved / self._entries / SPARSITY_FACTOR
        if density is not None:
            self._moved = torch.full_like(self._moved, self._entries)
            self.density = torch.full_like(self._moved, density)

    def observe(self, rose: Tensor) -> None:
        """Only the sparsity matters here."""

    def due(self, step: int) -> bool:
        """At regular intervals."""
        return step % self._every == 0

    def checkpoint(self, highest: Tensor, perturbations: Tensor) -> Tensor:  # noqa: ARG002
        """Full step where the best perturbation became sparser, a shorter one elsewhere."""
        moved = _l0(perturbations)
        sparser = moved < SPARSER * self._moved
        self.density = moved / self._entries / SPARSITY_FACTOR
        shorter = (self.size / SPARSITY_FACTOR).clamp_min(SMALLEST_L1_STEP * self._full)
        self.size = torch.where(sparser, self._full, shorter)
        self._moved = moved
        return sparser


def _l0(perturbations: Tensor) -> Tensor:
    return (perturbations != 0).flatten(1).sum(1).to(perturbations.dtype)


def _differences(ends: Iterable[int]) -> list[int]:
    previous, found = 0, []
    for end in ends:
        found.append(end - previous)
        previous = end
    return found
