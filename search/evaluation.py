"""Requests to evaluators and the outcomes they return, image by image."""

import hashlib
import json
import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

Weights = tuple[float, ...]
Average = Literal["logits", "softmax"]
Status = Literal["complete", "not_finite", "pruned", "stopped"]
Flags = NDArray[np.bool_]
Floats = NDArray[np.float32]


@dataclass(frozen=True)
class LayerWeights:
    """The weights of a layer-wise soup: one vector of soup weights for each layer, from the input to the last.

    Layers are the groups of parameters that the architecture names, see ``workers.soups.layout``.
    """

    vectors: tuple[Weights, ...]


def weights_key(weights: Sequence[float] | LayerWeights) -> str:
    """The name of a soup: its weights in the pantry's order, to 12 digits; -0 is 0. Two soups of one name are one.

    Those of a layer-wise soup are given layer by layer.
    """
    if isinstance(weights, LayerWeights):
        return ";".join(map(weights_key, weights.vectors))
    return ",".join(format(weight + 0.0, ".12g") for weight in weights)


REFINEMENT_FOLDS = 5
"""Into how many parts labelled images are cut to cross-validate a refinement."""
LEAST_LABELLED = 10
"""Fewer labelled images cannot tell a better last layer or temperature from a worse one."""


@dataclass(frozen=True)
class Refinement:
    """A change to a soup beyond its weights, learnt from the images of a task.

    ``statistics``: the soup's own BatchNorm means and variances, or those ``adapted`` to the images. ``head``: the
    soup's own last layer, or one ``refit`` to the labels. ``temperature``: logits are divided by one fitted number.
    """

    statistics: Literal["source", "adapted"] = "source"
    head: Literal["keep", "refit"] = "keep"
    temperature: bool = False

    @property
    def changes_anything(self) -> bool:
        """Whether a soup so refined is another model."""
        return self.statistics == "adapted" or self.needs_labels

    @property
    def needs_labels(self) -> bool:
        """Whether it is learnt from labels, and changes the last layer alone."""
        return self.head == "refit" or self.temperature

    @property
    def changes(self) -> int:
        """How many of its three parts change something."""
        return (self.statistics == "adapted") + (self.head == "refit") + self.temperature


PLAIN = Refinement()
"""Nothing is changed."""


@dataclass(frozen=True)
class Visit:
    """The order in which a soup sees the images of a task, so that it can be dropped before it has seen them all.

    Each of ``steps`` is the index of a set and some of its rows; between steps a soup may be dropped. Together they
    hold every image once. ``attacks``, where there are any, are the task's attacks in the order in which they go.
    """

    steps: tuple[tuple[int, tuple[int, ...]], ...]
    attacks: tuple[int, ...] = ()

    @cached_property
    def digest(self) -> str:
        """16 hexadecimal digits over the steps, on which the last bits of logits depend."""
        return hashlib.sha256(json.dumps(self.steps).encode()).hexdigest()[:16]

    def rows(self, sets: int) -> list[NDArray[np.intp]]:
        """The rows of each of ``sets`` sets in the order of the visit."""
        seen: list[list[int]] = [[] for _ in range(sets)]
        for index, rows in self.steps:
            seen[index] += rows
        return [np.array(each, dtype=np.intp) for each in seen]


@dataclass(frozen=True)
class EvaluationRequest:
    """One model on some images of a task.

    ``model`` holds soup weights in the pantry's order (their sum is 1), for the whole soup or for each layer, or names
    the ensemble that averages all ingredients' logits or softmax. ``blocks`` is a half-open range of the task's blocks
    of images, None all of them. Without ``attacked`` the task's attacks are left out. ``keep_logits`` keeps each
    image's logits. With a ``refinement``, each image is read by a soup refined without its label. ``gradient`` asks for
    the gradient of the likelihood with respect to the soup weights. A soup with a ``visit`` may be dropped on the way:
    images are seen in its order, though a whole outcome is in that of the sets.
    """

    model: Weights | LayerWeights | Average
    blocks: tuple[int, int] | None = None
    attacked: bool = True
    keep_logits: bool = False
    refinement: Refinement = PLAIN
    gradient: bool = False
    visit: Visit | None = None

    @property
    def weights(self) -> Weights:
        """The weights of a soup. Raises TypeError for an ensemble, and for a layer-wise soup, which has several."""
        if isinstance(self.model, str):
            raise TypeError(f"the ensemble of {self.model} has no soup weights")
        if isinstance(self.model, LayerWeights):
            raise TypeError("a layer-wise soup has weights for each layer: read model.vectors")
        return self.model


@dataclass(frozen=True)
class Passes:
    """Passes of one image through a model, counting both evaluation and attacks."""

    forward: int = 0
    backward: int = 0

    def __add__(self, other: "Passes") -> "Passes":
        return Passes(self.forward + other.forward, self.backward + other.backward)


@dataclass(frozen=True)
class SetOutcome:
    """One model on the N images seen of the ``total`` images of a set, in the set's order.

    ``prediction`` int32 (N,) is the column of the best score; -1 where a logit was not finite. ``correct`` bool (N,)
    and ``log_probability`` float32 (N,), of the accepted labels together in nats, at most 0, are None without labels.
    ``robust`` bool (threats, N) says which images stay right under each attack; None without attacks.
    ``logits`` float32 (N, classes) and, with labels, ``gradients`` float64 (parts, groups, n) are present only if the
    request asked for them. Gradients are those of the sum of ``log_probability`` over each of the parts in which the
    images were read, in order, with respect to the n soup weights of every group: of all layers together, or of each
    layer.
    """

    total: int
    prediction: NDArray[np.int32]
    correct: Flags | None = None
    log_probability: Floats | None = None
    robust: Flags | None = None
    logits: Floats | None = None
    gradients: NDArray[np.float64] | None = None

    @property
    def seen(self) -> int:
        """Number of images seen."""
        return len(self.prediction)

    @property
    def right(self) -> Flags:
        """``correct``. Raises ValueError when the set has no labels."""
        if self.correct is None:
            raise ValueError("a set without labels has no right predictions: choose an objective that needs no labels")
        return self.correct

    @property
    def accuracy(self) -> float:
        """Fraction of the seen images that are right."""
        return int(self.right.sum()) / self.seen if self.seen else 0.0

    @property
    def nll(self) -> float:
        """Mean negative log-likelihood of the seen images, in nats; infinite when a logit was not finite."""
        if self.log_probability is None:
            raise ValueError("a set without labels has no likelihood: choose an objective that needs no labels")
        return (0.0 - math.fsum(self.log_probability)) / self.seen if self.seen else math.inf

    @property
    def gradient(self) -> NDArray[np.float64]:
        """The gradient of the sum of ``log_probability`` with respect to the soup weights, float64 (groups, n).

        Parts are added in their order, so the sum does not depend on who read which. Raises ValueError where there is
        none.
        """
        if self.gradients is None:
            raise ValueError("this outcome has no gradient: ask for it")
        return np.asarray(self.gradients.sum(axis=0))

    def of_images(self, rows: NDArray[np.intp]) -> "SetOutcome":
        """The outcome on some of the images seen, as if they were all of the set; without gradients."""
        return SetOutcome(
            total=len(rows),
            prediction=self.prediction[rows],
            correct=None if self.correct is None else self.correct[rows],
            log_probability=None if self.log_probability is None else self.log_probability[rows],
            robust=None if self.robust is None else self.robust[:, rows],
            logits=None if self.logits is None else self.logits[rows],
        )


@dataclass(frozen=True)
class Outcome:
    """The result of one evaluation on all sets of a task, in their order.

    ``status``: ``complete``; ``not_finite``, every image was seen but some logit was not finite, so it can never be
    best; ``pruned``, dropped on its visit, whose images seen are in the visit's order; ``stopped`` by the user or the
    end of the attempt.
    ``floored_channels`` counts BatchNorm channels whose variance was not positive. ``seconds`` is wall time.
    """

    status: Status
    sets: tuple[SetOutcome, ...]
    passes: Passes = Passes()
    floored_channels: int = 0
    seconds: float = 0.0

    @property
    def is_whole(self) -> bool:
        """Whether every image was seen; another evaluation would then give the same result."""
        return self.status in {"complete", "not_finite"}

    def of_images(self, rows: Sequence[NDArray[np.intp]]) -> "Outcome":
        """The outcome on some of the images of each set."""
        return replace(self, sets=tuple(each.of_images(kept) for each, kept in zip(self.sets, rows, strict=True)))

    def without_logits(self) -> "Outcome":
        """This outcome without logits."""
        return replace(self, sets=tuple(replace(each, logits=None) for each in self.sets))


class Bar(ABC):
    """What a soup must still be able to reach. Evaluators ask it between the steps of a visit."""

    @abstractmethod
    def drops(self, sets: Sequence[SetOutcome]) -> bool:
        """Whether a soup with these outcomes on the images seen so far, in the order of its visit, is dropped.

        ``robust`` is None before the attacks; while they go on, an image counts as robust until one has broken it.
        """


_RANK: dict[Status, int] = {"complete": 0, "not_finite": 1, "pruned": 2, "stopped": 3}


def joined(parts: Sequence[Outcome]) -> Outcome:
    """One model's outcome from those on consecutive blocks of images. Raises ValueError without parts.

    A model with a logit that is not finite is not attacked, and has no gradient: neither they nor their passes count,
    so that the outcome does not depend on how the blocks were cut.
    """
    if not parts:
        raise ValueError("an outcome needs at least one part")
    if len(parts) == 1:
        return parts[0]
    status = max((part.status for part in parts), key=_RANK.__getitem__)
    sets = tuple(_joined_sets(sets) for sets in zip(*(part.sets for part in parts), strict=True))
    passes = sum((part.passes for part in parts), Passes())
    if status == "not_finite":
        sets = tuple(replace(each, robust=None, gradients=None) for each in sets)
        passes = Passes(sum(each.seen for each in sets))
    return Outcome(
        status=status,
        sets=sets,
        passes=passes,
        floored_channels=parts[0].floored_channels,
        seconds=sum(part.seconds for part in parts),
    )


def _joined_sets(parts: Sequence[SetOutcome]) -> SetOutcome:
    seen = [part for part in parts if part.seen] or list(parts[:1])
    return SetOutcome(
        total=parts[0].total,
        prediction=np.concatenate([part.prediction for part in seen]),
        correct=_joined([part.correct for part in seen]),
        log_probability=_joined([part.log_probability for part in seen]),
        robust=_joined([part.robust for part in seen], axis=1),
        logits=_joined([part.logits for part in seen]),
        gradients=_joined([part.gradients for part in seen]),
    )


def _joined(parts: Sequence[NDArray[Any] | None], axis: int = 0) -> Any:
    """None when any part is None."""
    arrays = [part for part in parts if part is not None]
    return np.concatenate(arrays, axis=axis) if len(arrays) == len(parts) else None
