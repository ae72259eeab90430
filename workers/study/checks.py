"""What is told before anything is computed on it."""

from __future__ import annotations

from workers.attacks.losses import FEWEST_CLASSES
from workers.study.config import CLEAN, AttackSection
from workers.study.inputs import SetLabels


def check_attackable(section: AttackSection, labels: SetLabels) -> None:
    """Raise ValueError, saying what to change, unless each clean image can be led away from one class."""
    if several := sum(len(accepted) != 1 for accepted in labels.accepted):
        raise ValueError(
            f"{several} of {len(labels.accepted)} images of the set {CLEAN!r} have several accepted labels, and an "
            f"attack leads away from one: take a set with one label an image as {CLEAN!r}, or write attacks: null"
        )
    for loss in section.losses:
        if labels.columns < FEWEST_CLASSES[loss]:
            raise ValueError(
                f"attacks.losses: {loss} needs {FEWEST_CLASSES[loss]} classes, and {labels.columns} compete in the "
                f"set {CLEAN!r}: write losses: [ce]"
            )
