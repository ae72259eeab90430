"""A check for masked gradients: what a stronger attack finds that a plain one misses.

After Athalye et al. ("Obfuscated gradients give a false sense of security", ICML 2018, section 3.1) and Carlini et al.
("On evaluating adversarial robustness", 2019, section 4): an attack without gradients, from random starts, with more or
larger steps or towards targets should not find much more than a plain attack by gradients. Where it does, the plain
figure says little.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workers.attacks.apgd import OnAttacked, apgd
from workers.attacks.attack import FEWEST_CLASSES, Attack, LossName
from workers.attacks.ball import random_start
from workers.attacks.model import correct, device_of, evaluating, exact_arithmetic
from workers.attacks.pgd import pgd
from workers.attacks.square import square
from workers.attacks.threat import Threat

MARGIN = 0.08
"""The check warns where a stronger attack breaks more than this share of all images beyond the plain one."""

MOST_IMAGES = 200
"""How many images the check takes of a set: enough to see the margin, whose standard error is then 2 points."""

_MORE_STEPS = 5
_LARGER_STEPS = 4
_QUERIES_PER_STEP = 25


@dataclass(frozen=True)
class Comparison:
    """What ``change`` makes of a plain attack: robust accuracy, in [0, 1], under the ``plain`` and ``stronger`` one.

    The plain attack is PGD from the image for a random start, and APGD on cross-entropy for all other changes.
    """

    change: str
    plain: float
    stronger: float

    @property
    def is_suspicious(self) -> bool:
        """Whether the stronger attack finds more than ``MARGIN``."""
        return self.plain - self.stronger > MARGIN


@dataclass(frozen=True)
class MaskingCheck:
    """The comparisons in one threat on ``images`` images."""

    threat: Threat
    images: int
    comparisons: tuple[Comparison, ...]

    @property
    def warnings(self) -> list[str]:
        """One sentence for each suspicious comparison."""
        return [
            f"gradients may be masked in {self.threat}: {100 * each.plain:.1f} % of {self.images} images withstand the "
            f"plain attack and {100 * each.stronger:.1f} % the one with {each.change}"
            for each in self.comparisons
            if each.is_suspicious
        ]

    def as_json(self) -> dict[str, Any]:
        """Norm, eps, number of images, the comparisons and the warnings."""
        return {
            "norm": self.threat.norm,
            "eps": self.threat.eps,
            "images": self.images,
            "comparisons": [
                {"change": each.change, "plain": each.plain, "stronger": each.stronger} for each in self.comparisons
            ],
            "warnings": self.warnings,
        }


def check_masking(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threats: Sequence[Threat],
    *,
    steps: int = 40,
    batch_size: int = 512,
    on_progress: OnAttacked | None = None,
) -> list[MaskingCheck]:
    """Check ``model``, pixels in [0, 1] to logits, in each threat on the first ``MOST_IMAGES`` of ``images`` (N, ...).

    ``labels`` (N,) are int64; ``steps`` are those of the plain attacks. The changes: a random start, larger steps
    (PGD), more steps, a targeted loss (APGD), and no gradients at all (Square attack). The result depends neither on
    the batch size nor on the order of the threats. The model is held in eval mode meanwhile.
    """
    images, labels = images[:MOST_IMAGES], labels[:MOST_IMAGES]
    tell = on_progress or (lambda _: None)
    with evaluating(model), exact_arithmetic():
        checks = []
        for number, threat in enumerate(threats):
            probe = _ThreatCheck(model, images, labels, threat, steps, batch_size)
            checks.append(MaskingCheck(threat, len(labels), probe.comparisons()))
            tell((number + 1) / len(threats))
    return checks


@dataclass(frozen=True)
class _ThreatCheck:
    """The attacks of the check in one threat; each returns robust accuracy."""

    model: nn.Module
    images: Tensor
    labels: Tensor
    threat: Threat
    steps: int
    batch_size: int

    def comparisons(self) -> tuple[Comparison, ...]:
        from_image, from_random, larger = (
            self.pgd(starts=starts, larger=times) for starts, times in ((False, 1), (True, 1), (True, _LARGER_STEPS))
        )
        plain = self.apgd("ce", self.steps)
        more = self.apgd("ce", _MORE_STEPS * self.steps)
        targeted = self.apgd(self.targeted_loss(), self.steps)
        return (
            Comparison("a random start", from_image, from_random),
            Comparison("larger steps", plain, larger),
            Comparison("more steps", plain, more),
            Comparison("a targeted loss", plain, targeted),
            Comparison("no gradients (Square attack)", plain, self.square()),
        )

    def pgd(self, *, starts: bool, larger: int) -> float:
        """PGD on cross-entropy, from the image or from a random point, with steps so many times the usual size."""
        size = larger * 2.5 * self.threat.eps / self.steps
        right = []
        for rows in torch.split(torch.arange(len(self.labels)), self.batch_size):
            device = device_of(self.model, self.images.device)
            images, labels = self.images[rows].to(device), self.labels[rows].to(device)
            start = random_start(images, self.threat, 0, rows) if starts else None
            points = pgd(self.model, images, labels, self.threat, self.steps, start=start, step_size=size)
            with torch.no_grad():
                right.append(correct(self.model(points), labels))
        return _share(torch.cat(right))

    def apgd(self, loss: LossName, steps: int) -> float:
        attack = Attack(self.threat, steps, loss)
        return _share(apgd(self.model, self.images, self.labels, attack, batch_size=self.batch_size).robust)

    def square(self) -> float:
        queries = _QUERIES_PER_STEP * self.steps
        found = square(self.model, self.images, self.labels, self.threat, queries, batch_size=self.batch_size)
        return _share(found.robust)

    @torch.no_grad()
    def targeted_loss(self) -> LossName:
        classes = self.model(self.images[:1].to(device_of(self.model, self.images.device))).shape[1]
        return "targeted-dlr" if classes >= FEWEST_CLASSES["targeted-dlr"] else "targeted-ce"


def _share(robust: Tensor) -> float:
    return robust.double().mean().item()
