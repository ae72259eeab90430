"""The units of a study's work. Each computes the arrays of one file from its inputs alone."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lab.data.corruptions import TableName, corrupt_batch
from lab.data.labelled_images import LabelledImages
from lab.study.inputs import IdxInput, Input, SetInput, StackInput, set_arrays
from lab.study.store import Arrays
from workers.attacks.attack import Attack
from workers.attacks.model import ColumnModel, NormalizedModel
from workers.attacks.robustness import robust_accuracy
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import STREAM_BATCH_SIZE, Evaluator
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.resident import Precision, ResidentSoup
from workers.soups.stack import IngredientStack

ATTACK_BATCH = 250
SCORE_BATCH_SIZES: dict[Precision, int] = {"float32": 128, "bfloat16": 256}
"""Images that one thread scores at once: more than in a search, where a soup may end early.

This is the fastest size for the shipped pantries, or nearly so: ``python -m benchmarks.study_speed.run``.
"""
Weights = tuple[tuple[float, ...], ...]


@dataclass(frozen=True)
class StudyJob(ABC):
    """Work whose result is kept under ``name``, which holds a digest of everything it depends on.

    ``passes`` is its cost in forward passes, where a step of an attack counts as three.
    """

    name: str

    @property
    @abstractmethod
    def inputs(self) -> tuple[Input, ...]:
        """The arguments of ``compute``, in order."""

    @property
    @abstractmethod
    def passes(self) -> int:
        """Number of forward passes, for the progress bar."""

    @abstractmethod
    def compute(self, inputs: Sequence[Any], device: str) -> Arrays:
        """The result from the loaded ``inputs``: the same wherever it runs, up to the device's rounding."""


@dataclass(frozen=True)
class CorruptJob(StudyJob):
    """The images of one corruption and severity, or the clean images if there is none, encoded for ``config``."""

    images: IdxInput
    corruption: str | None
    severity: int | None
    table: TableName
    config: DataConfig
    num_classes: int

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The images."""
        return (self.images,)

    @property
    def passes(self) -> int:
        """Corrupting an image takes about as long as five passes of a small network."""
        return 5 * self.images.count

    def compute(self, inputs: Sequence[Any], device: str) -> Arrays:  # noqa: ARG002
        """The arrays of the encoded set; always on the CPU."""
        data: LabelledImages = inputs[0]
        pixels: Any = data.images.transpose(0, 2, 3, 1)
        if self.corruption is not None and self.severity is not None:
            rng = np.random.default_rng([self.images.seed, *self.corruption.encode(), self.severity])
            pixels = corrupt_batch(np.ascontiguousarray(pixels), self.corruption, self.severity, rng, self.table)
        encoded = encode_images(pixels, self.config)
        return set_arrays(EncodedSet.of_classes(encoded, data.labels.tolist(), self.num_classes))


@dataclass(frozen=True)
class ScoreJob(StudyJob):
    """Soups of one stack on one set: each image's result, and the logits of the rows ``keep`` (None: all rows)."""

    stack: StackInput
    images: SetInput
    weights: Weights
    count: int
    precision: Precision
    keep: tuple[int, ...] | None = None

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The models and the images."""
        return (self.stack, self.images)

    @property
    def passes(self) -> int:
        """One pass per soup and image."""
        return len(self.weights) * self.count

    def compute(self, inputs: Sequence[Any], device: str) -> Arrays:
        """``correct`` packed bits and ``nll`` float32 of (soups, images), ``logits`` float16 as ``shifted`` says."""
        stack, images = inputs
        soup = _resident(self.stack.digest, stack, device, self.precision)
        cut = SCORE_BATCH_SIZES[self.precision] if torch.get_num_threads() == 1 else STREAM_BATCH_SIZE
        evaluator = Evaluator(stack, [images], soup=soup, stream_batch_size=cut)
        found = [evaluator.evaluate(weights, keep_logits=True).sets[0] for weights in self.weights]
        rows = range(len(found)) if self.keep is None else self.keep
        kept = [shifted(found[row].logits) for row in rows]
        empty = np.zeros((0, len(images), images.space.num_classes), np.float16)
        return {
            "correct": np.packbits(np.stack([each.right for each in found]), axis=1),
            "nll": -np.stack([np.asarray(each.log_probability) for each in found]),
            "logits": np.stack(kept) if kept else empty,
            "rows": np.array(list(rows), dtype=np.int64),
        }


@dataclass(frozen=True)
class AttackJob(StudyJob):
    """One soup under each of ``attacks`` on the first ``count`` images of a set."""

    stack: StackInput
    images: SetInput
    weights: tuple[float, ...]
    count: int
    attacks: tuple[Attack, ...]
    seed: int

    @property
    def inputs(self) -> tuple[Input, ...]:
        """The models and the images."""
        return (self.stack, self.images)

    @property
    def passes(self) -> int:
        """An upper bound: images that are misclassified early take fewer passes."""
        return 3 * sum(attack.steps for attack in self.attacks) * self.count

    def compute(self, inputs: Sequence[Any], device: str) -> Arrays:
        """``clean`` (images,) and ``robust`` (threats, images): right, and right after all attacks in the threat.

        The columns of the set compete, as in scoring. Raises ValueError if an image accepts several.
        """
        stack, images = inputs
        accepted = images.labels[: self.count]
        if any(len(labels) != 1 for labels in accepted):
            raise ValueError("an attack leads an image away from one label, and this set has images with several")
        soup = _resident(self.stack.digest, stack, device, "float32")
        soup.set_weights(self.weights)
        config = DataConfig.of_model(soup.model)
        normalised = NormalizedModel(soup.model, config.mean, config.std)
        model = normalised if images.space.is_plain else ColumnModel(normalised, images.space.columns)
        pixels = torch.from_numpy(images.images[: self.count]).float() / 255
        labels = torch.tensor([label for (label,) in accepted])
        found = robust_accuracy(model.eval(), pixels, labels, self.attacks, seeds=(self.seed,), batch_size=ATTACK_BATCH)
        by_threat: dict[Threat, Tensor] = {}
        for each in found.threats:
            threat, robust = each.attack.threat, each.robust[0]
            by_threat[threat] = by_threat[threat] & robust if threat in by_threat else robust
        return {"clean": found.clean.cpu().numpy(), "robust": torch.stack(list(by_threat.values())).cpu().numpy()}


def shifted(logits: NDArray[np.float32] | None) -> NDArray[np.float16]:
    """Logits minus each image's largest, in float16. The largest is exactly 0, so the prediction is exact.

    Near 0, float16 separates any two numbers that float32 separates at the size of a logit. Probabilities, and so
    ensembles, are off by less than 0.001 relative.
    """
    if logits is None:
        raise ValueError("logits are kept by evaluating with keep_logits=True")
    with np.errstate(invalid="ignore", over="ignore"):
        least = np.finfo(np.float16).min
        return np.asarray(np.maximum(logits - logits.max(axis=1, keepdims=True), least), dtype=np.float16)


_RESIDENT: dict[tuple[str, str, str], ResidentSoup] = {}


def _resident(digest: str, stack: IngredientStack, device: str, precision: Precision) -> ResidentSoup:
    """The model of a stack, which stays in this process until a job needs another stack."""
    key = (digest, device, precision)
    if key not in _RESIDENT:
        _RESIDENT.clear()
        _RESIDENT[key] = ResidentSoup(stack, device, precision)
    return _RESIDENT[key]
