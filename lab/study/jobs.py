"""The evaluations of a study, in units whose results are one file each."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from lab.study.inputs import StackInput
from lab.study.store import Arrays
from search.evaluation import EvaluationRequest, Outcome
from workers.attacks.attack import Attack
from workers.ray_runtime.task import SetPart, Task
from workers.soups.resident import Precision

Weights = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class StudyJob(ABC):
    """Soups of one stack on one set. The result is kept under ``name``, which holds a digest of all it depends on."""

    name: str
    stack: StackInput
    images: SetPart
    weights: Weights

    @property
    @abstractmethod
    def passes(self) -> int:
        """The cost of one soup in forward passes, for the progress bar; a step of an attack counts as three."""

    @property
    @abstractmethod
    def requests(self) -> tuple[EvaluationRequest, ...]:
        """What evaluators are asked, one request for each soup."""

    @abstractmethod
    def task(self, batch_size: int) -> Task:
        """What evaluators need for the requests. Jobs with equal tasks are evaluated together."""

    @abstractmethod
    def arrays(self, outcomes: Sequence[Outcome]) -> Arrays:
        """What is kept of the outcomes of ``requests``, which come in their order."""


@dataclass(frozen=True)
class ScoreJob(StudyJob):
    """Each image's result, and the logits of the rows ``keep`` (None: all rows)."""

    precision: Precision
    keep: tuple[int, ...] | None = None

    @property
    def passes(self) -> int:
        """One pass per image."""
        return len(self.images.rows)

    @property
    def requests(self) -> tuple[EvaluationRequest, ...]:
        """Requests for logits only where they are kept."""
        kept = range(len(self.weights)) if self.keep is None else self.keep
        return tuple(EvaluationRequest(each, keep_logits=row in kept) for row, each in enumerate(self.weights))

    def task(self, batch_size: int) -> Task:
        """The set without attacks."""
        return Task(self.stack.key, (self.images,), self.precision, batch_size)

    def arrays(self, outcomes: Sequence[Outcome]) -> Arrays:
        """``correct`` packed bits and ``nll`` float32 of (soups, images), ``logits`` float16 as ``shifted`` says."""
        found = [outcome.sets[0] for outcome in outcomes]
        kept = {row: shifted(each.logits) for row, each in enumerate(found) if each.logits is not None}
        empty = np.zeros((0, len(self.images.rows), self.images.num_classes), np.float16)
        return {
            "correct": np.packbits(np.stack([each.right for each in found]), axis=1),
            "nll": -np.stack([np.asarray(each.log_probability) for each in found]),
            "logits": np.stack(list(kept.values())) if kept else empty,
            "rows": np.array(list(kept), dtype=np.int64),
        }


@dataclass(frozen=True)
class AttackJob(StudyJob):
    """One soup under each of ``attacks`` on the first ``count`` images of a set, each of which has one label."""

    count: int
    attacks: tuple[Attack, ...]
    seed: int

    @property
    def passes(self) -> int:
        """An upper bound: images that are misclassified early take fewer passes."""
        return 3 * sum(attack.steps for attack in self.attacks) * self.count

    @property
    def requests(self) -> tuple[EvaluationRequest, ...]:
        """The soup with all attacks."""
        return tuple(map(EvaluationRequest, self.weights))

    def task(self, batch_size: int) -> Task:
        """The first images in float32, with the attacks."""
        accepted = None if self.images.accepted is None else self.images.accepted[: self.count]
        images = replace(self.images, rows=self.images.rows[: self.count], accepted=accepted)
        return Task(self.stack.key, (images,), "float32", batch_size, self.attacks, self.seed)

    def arrays(self, outcomes: Sequence[Outcome]) -> Arrays:
        """``clean`` (images,) and ``robust`` (threats, images): right, and right after all attacks in the threat.

        A soup with a logit that is not finite was not attacked, and is robust nowhere.
        """
        [found] = [outcome.sets[0] for outcome in outcomes]
        after = np.zeros((len(self.attacks), found.seen), np.bool_) if found.robust is None else found.robust
        threats = [attack.threat for attack in self.attacks]
        rows = [[place for place, each in enumerate(threats) if each == threat] for threat in dict.fromkeys(threats)]
        return {"clean": found.right, "robust": np.stack([found.right & after[places].all(axis=0) for places in rows])}


def shifted(logits: NDArray[np.float32]) -> NDArray[np.float16]:
    """Logits minus each image's largest, in float16. The largest is exactly 0, so the prediction is exact.

    Near 0, float16 separates any two numbers that float32 separates at the size of a logit. Probabilities, and so
    ensembles, are off by less than 0.001 relative.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        least = np.finfo(np.float16).min
        return np.asarray(np.maximum(logits - logits.max(axis=1, keepdims=True), least), dtype=np.float16)
