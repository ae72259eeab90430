"""Alarms of a choice that no label checks: predictions that collapse, or leave what the ingredients agree on."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Self

import numpy as np
from numpy.typing import NDArray
from scipy.special import logsumexp

from search.evaluation import Outcome, SetOutcome
from search.information import UnlabelledSet

Alarm = Literal["largest_share", "predicted_classes", "agreement"]
MOST_OF_SHARE = 2.0
"""Its largest share of one predicted class may be so many times the greatest of any ingredient."""
LEAST_OF_CLASSES = 0.5
"""It must predict this share of the fewest classes that any ingredient predicts."""
LEAST_OF_AGREEMENT = 0.5
"""It must agree with the softmax ensemble on this share of what the ingredient that agrees least does."""


@dataclass(frozen=True)
class Signs:
    """What predictions on a set say about a model without a label.

    ``largest_share`` is the share of the class predicted most, ``predicted_classes`` how many classes are predicted,
    ``agreement`` the share of images on which the softmax ensemble of the ingredients predicts the same.
    """

    largest_share: float
    predicted_classes: int
    agreement: float


@dataclass(frozen=True)
class Guard:
    """What is allowed on the set of ``place``, on which the softmax ensemble predicts ``teacher``, int (images,).

    ``ingredients`` are the greatest share, the fewest classes and the least agreement of any ingredient.
    """

    place: int
    teacher: NDArray[np.intp]
    ingredients: Signs

    @classmethod
    def of(cls, unlabelled: UnlabelledSet, ingredients: Sequence[SetOutcome]) -> Self:
        """The guard that outcomes of the ingredients, which keep their logits, give. Raises ValueError without any."""
        if not ingredients:
            raise ValueError("alarms are relative to the ingredients: give their outcomes")
        logs = [unlabelled.log_probabilities(_logits(each)) for each in ingredients]
        teacher = logsumexp(logs, axis=0).argmax(axis=1)
        signs = [_signs(each, teacher) for each in ingredients]
        worst = Signs(
            max(each.largest_share for each in signs),
            min(each.predicted_classes for each in signs),
            min(each.agreement for each in signs),
        )
        return cls(unlabelled.place, teacher, worst)

    def signs(self, outcome: Outcome) -> Signs:
        """Of a model, from its outcome on all sets."""
        return _signs(outcome.sets[self.place], self.teacher)

    def shortfalls(self, outcome: Outcome) -> dict[Alarm, float]:
        """The alarms that sound, and by what share of its limit the model misses each."""
        signs, worst = self.signs(outcome), self.ingredients
        shortfalls: dict[Alarm, float] = {
            "largest_share": signs.largest_share / (MOST_OF_SHARE * worst.largest_share) - 1,
            "predicted_classes": 1 - signs.predicted_classes / (LEAST_OF_CLASSES * worst.predicted_classes),
            "agreement": 0.0 if worst.agreement == 0 else 1 - signs.agreement / (LEAST_OF_AGREEMENT * worst.agreement),
        }
        return {alarm: shortfall for alarm, shortfall in shortfalls.items() if shortfall > 0}

    def disagrees(self, outcome: Outcome) -> bool:
        """Whether a model agrees with the softmax ensemble less than any ingredient does."""
        return self.signs(outcome).agreement < self.ingredients.agreement


def guards_of(unlabelled: Sequence[UnlabelledSet], ingredients: Sequence[Outcome]) -> tuple[Guard, ...]:
    """A guard for each set, by the ingredients whose logits are finite; none where no ingredient's are."""
    sound = [each for each in ingredients if each.status == "complete"]
    return tuple(Guard.of(each, [outcome.sets[each.place] for outcome in sound]) for each in unlabelled if sound)


def _signs(outcome: SetOutcome, teacher: NDArray[np.intp]) -> Signs:
    counts = np.unique(outcome.prediction, return_counts=True)[1]
    return Signs(float(counts.max()) / outcome.seen, len(counts), float((outcome.prediction == teacher).mean()))


def _logits(outcome: SetOutcome) -> NDArray[np.float32]:
    if outcome.logits is None:
        raise ValueError("the outcome of an ingredient lacks its logits: ask for them")
    return outcome.logits
