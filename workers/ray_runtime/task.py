"""What evaluators are asked to do, and what they answer. Without torch: trials import it too, and start sooner."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from search.evaluation import EvaluationRequest, Outcome

if TYPE_CHECKING:
    from workers.attacks.attack import Attack
    from workers.evaluation.labels import LabelSpace
    from workers.soups.resident import Precision


@dataclass(frozen=True)
class SetPart:
    """Some images of an adaptation set and how predictions are read.

    ``images`` is the key of the encoded images, ``rows`` which of them in which order, ``accepted`` the columns that
    are right for each of these (None without labels), ``columns`` the model's classes of each column.
    """

    images: str
    rows: tuple[int, ...]
    accepted: tuple[tuple[int, ...], ...] | None
    columns: tuple[tuple[int, ...], ...]
    num_classes: int

    @property
    def space(self) -> "LabelSpace":
        """What the columns are."""
        from workers.evaluation.labels import LabelSpace

        return LabelSpace(self.columns, self.num_classes)


@dataclass(frozen=True)
class Task:
    """What evaluators hold ready for requests: the ingredients whose key is ``stack``, and the images of ``sets``.

    ``attacks`` are those that a request may ask for, from random starts that ``seed`` gives. ``digest`` identifies all
    of it.
    """

    stack: str
    sets: tuple[SetPart, ...]
    precision: "Precision"
    batch_size: int
    attacks: "tuple[Attack, ...]" = ()
    seed: int = 0

    @cached_property
    def digest(self) -> str:
        """sha256 over the fields."""
        return hashlib.sha256(json.dumps(asdict(self)).encode()).hexdigest()

    @property
    def blocks(self) -> int:
        """Number of blocks of at most ``batch_size`` images; no block spans two sets."""
        return sum(-(-len(part.rows) // self.batch_size) for part in self.sets)

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


@dataclass(frozen=True)
class Failure:
    """Why an evaluator gave up on a batch. ``retryable``: another try, perhaps elsewhere, may succeed."""

    code: str
    message: str
    retryable: bool


EVALUATION_FAILED = "evaluation_failed"
"""Code of a Failure that nobody foresaw: the evaluator's process may be of no further use."""
OUT_OF_MEMORY = "evaluation_out_of_memory"
REFUSED = "evaluation_refused"
"""The request does not fit the task: a bug of ours."""
STOPPED = "stopped"
UNPREPARED = "unprepared"
"""The evaluator made room for another job, or was restarted."""


@dataclass(frozen=True)
class Report:
    """Outcomes of a batch's requests from its request ``first`` on; ``last`` of the batch, with the failure if any."""

    first: int
    outcomes: Sequence[Outcome]
    last: bool
    failure: Failure | None = None


def failed(failure: Failure) -> Report:
    """The last report of a batch that failed."""
    return Report(0, (), last=True, failure=failure)


@dataclass(frozen=True)
class Order:
    """What an evaluator is asked: ``requests`` for the prepared task of ``digest``, on behalf of ``token``."""

    token: str
    digest: str
    requests: tuple[EvaluationRequest, ...]
