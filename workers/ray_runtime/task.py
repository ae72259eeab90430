"""Requests to evaluators and their answers. Does not import torch, so that trials, which import it, start sooner."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from search.evaluation import Bar, EvaluationRequest, Outcome

if TYPE_CHECKING:
    from workers.attacks.attack import Attack
    from workers.evaluation.labels import LabelSpace
    from workers.soups.resident import Precision


@dataclass(frozen=True)
class SetPart:
    """Some images of an adaptation set and how to read predictions.

    ``images`` is the key of the encoded images, ``rows`` selects and orders them, ``accepted`` holds the right columns
    of each selected image (None without labels), ``columns`` the model's classes of each column.
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
    """The data that evaluators keep for requests: the ingredients with the key ``stack`` and the images of ``sets``.

    A request may ask for any of ``attacks``; ``seed`` sets their random starts. ``digest`` identifies all of it.
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
    """The device that an evaluator computes on; ``hardware`` describes what rounding may depend on."""

    pid: int
    device: str
    hardware: str
    threads: int


class Unprepared(Exception):
    """An evaluator lacks a task or its arrays: it was restarted, or evicted them to make room for others."""


@dataclass(frozen=True)
class Failure:
    """Why an evaluator gave up on a batch. ``retryable``: another try, perhaps elsewhere, may succeed."""

    code: str
    message: str
    retryable: bool
    pid: int | None = None
    """The process that failed, if it is known."""


EVALUATION_FAILED = "evaluation_failed"
"""Code of an unforeseen Failure: the evaluator's process may be unusable."""
OUT_OF_MEMORY = "evaluation_out_of_memory"
REFUSED = "evaluation_refused"
"""The request does not fit the task, which is a bug."""
STOPPED = "stopped"
UNPREPARED = "unprepared"
"""The evaluator made room for another job, or was restarted."""


@dataclass(frozen=True)
class Report:
    """Outcomes of a batch's requests from index ``first`` on; ``last`` marks the last report, with any failure."""

    first: int
    outcomes: Sequence[Outcome]
    last: bool
    failure: Failure | None = None


def failed(failure: Failure) -> Report:
    """The last report of a batch that failed."""
    return Report(0, (), last=True, failure=failure)


@dataclass(frozen=True)
class Order:
    """``requests`` to an evaluator for the prepared task of ``digest``, on behalf of ``token``.

    Soups with a visit must clear ``bar``, and any that the evaluator hears of later.
    """

    token: str
    digest: str
    requests: tuple[EvaluationRequest, ...]
    bar: Bar | None = None
