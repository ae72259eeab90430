"""What evaluators are asked to do, and what they answer. Without torch: trials import it too, and start sooner."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from workers.evaluation.scores import SoupScore

if TYPE_CHECKING:
    from workers.attacks.losses import LossName
    from workers.attacks.threat import Norm
    from workers.soups.resident import Precision


@dataclass(frozen=True)
class SetPart:
    """Some images of an adaptation set and how they are scored.

    ``images`` is the key of the encoded images, ``rows`` which of them in which order, ``accepted`` the columns that
    are right for each of these, ``columns`` the model's classes of each column.
    """

    images: str
    rows: tuple[int, ...]
    accepted: tuple[tuple[int, ...], ...]
    columns: tuple[tuple[int, ...], ...]
    num_classes: int

    def first(self, count: int) -> "SetPart":
        """The first ``count`` images alone."""
        return SetPart(self.images, self.rows[:count], self.accepted[:count], self.columns, self.num_classes)


@dataclass(frozen=True)
class AttackPlan:
    """One attack: a threat model and how it is tried; the fields of ``Threat`` and of the attack's ``Settings``."""

    norm: "Norm"
    eps: float
    steps: int
    loss: "LossName"
    restarts: int
    larger_radii: bool


@dataclass(frozen=True)
class Task:
    """Soups of the ingredients whose key is ``stack``, scored on ``sets``; ``digest`` identifies all of it.

    With ``attacks`` every soup is attacked by each of them, from random starts that ``seed`` gives.
    """

    stack: str
    sets: tuple[SetPart, ...]
    precision: "Precision"
    batch_size: int
    attacks: tuple[AttackPlan, ...] = ()
    seed: int = 0

    @cached_property
    def digest(self) -> str:
        """sha256 over the fields."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    @property
    def image_count(self) -> int:
        """Images of all sets."""
        return sum(len(part.rows) for part in self.sets)

    @property
    def keys(self) -> tuple[str, ...]:
        """Keys of all arrays that an evaluator needs."""
        return (self.stack, *dict.fromkeys(part.images for part in self.sets))


@dataclass(frozen=True)
class HostInfo:
    """Where an evaluator computes; ``hardware`` is what rounding may depend on."""

    pid: int
    device: str
    hardware: str
    threads: int


class Unprepared(Exception):
    """An evaluator lacks arrays of a task, or the task: it was restarted, or they had to make room for others."""


EVALUATION_FAILED = "evaluation_failed"
"""Code of a Problem that nobody foresaw: the evaluator's process may be of no further use."""


@dataclass(frozen=True)
class Problem:
    """Why an evaluator gave up on a batch. ``retryable``: another try, perhaps elsewhere, may succeed."""

    code: str
    message: str
    retryable: bool


@dataclass(frozen=True)
class Report:
    """Points that an evaluator has finished since its last report; ``last`` in a batch, with the problem if any."""

    scores: Sequence[SoupScore]
    last: bool
    problem: Problem | None = None
