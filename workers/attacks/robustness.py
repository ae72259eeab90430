"""Robust accuracy: which images withstand each attack, and which withstand all of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from workers.attacks.apgd import OnAttacked, Settings, apgd
from workers.attacks.arithmetic import exact_arithmetic
from workers.attacks.losses import LossName
from workers.attacks.model import evaluating
from workers.attacks.threat import Threat


@dataclass(frozen=True)
class ThreatResult:
    """One attack in one threat, run from each of S seeds.

    ``robust`` (S, N) bool: still right after the attack; ``seconds`` for all seeds together; ``points``
    (S, N, ...) as in ``Attacked``, or None where they were not asked for.
    """

    threat: Threat
    settings: Settings
    robust: Tensor
    seconds: float
    points: Tensor | None

    def as_json(self) -> dict[str, Any]:
        """The attack by name, with targets where its loss has some, and the robust accuracy, one number a seed."""
        targets = {"targets": self.settings.targets} if self.settings.targeted else {}
        return {
            "norm": self.threat.norm,
            "eps": self.threat.eps,
            "loss": self.settings.loss,
            "steps": self.settings.steps,
            "restarts": self.settings.restarts,
            **targets,
            "larger_radii": self.settings.larger_radii,
            "robust": _shares(self.robust),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class RobustAccuracy:
    """Which of N images are right: ``clean`` (N,) before any attack, and after each attack of ``threats``."""

    clean: Tensor
    threats: tuple[ThreatResult, ...]

    @property
    def union(self) -> Tensor:
        """(S, N) bool: the images that no attack of a seed broke. Decided for each image, so at most the minimum."""
        return torch.stack([result.robust for result in self.threats]).all(0)

    def as_json(self) -> dict[str, Any]:
        """Accuracies as numbers: ``{"clean", "threats": [...], "union": [one a seed]}``."""
        return {
            "clean": self.clean.double().mean().item(),
            "threats": [result.as_json() for result in self.threats],
            "union": _shares(self.union),
        }


def robust_accuracy(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attacks: Sequence[tuple[Threat, Settings]],
    *,
    seeds: Sequence[int] = (0,),
    batch_size: int = 512,
    keep_points: bool = False,
    on_progress: OnAttacked | None = None,
) -> RobustAccuracy:
    """Attack ``images`` (N, ...), in [0, 1], with ``labels`` (N,) by every attack from every seed.

    The model is held in eval mode meanwhile, and its convolutions in IEEE float32 (TF32 is off); give it its
    normalisation inside (``NormalizedModel``). With ``keep_points`` the adversarial images are kept, S times the
    images' memory for each attack.
    Raises ValueError without attacks or seeds, and what ``apgd`` raises.
    """
    if not attacks or not seeds:
        raise ValueError("give at least one threat model and one seed to attack with")
    with evaluating(model), exact_arithmetic():
        runs = [
            _attack(
                model,
                images,
                labels,
                attack,
                seeds=seeds,
                batch_size=batch_size,
                keep_points=keep_points,
                on_progress=_part(on_progress, number, len(attacks)),
            )
            for number, attack in enumerate(attacks)
        ]
    return RobustAccuracy(clean=runs[0][0], threats=tuple(result for _, result in runs))


def attack_report(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threats: Sequence[Threat],
    *,
    steps: int = 40,
    seeds: Sequence[int] = (0,),
    losses: Sequence[LossName] = ("ce",),
    restarts: int = 1,
    larger_radii: bool = False,
    batch_size: int = 512,
) -> dict[str, Any]:
    """Robust accuracies as JSON: one entry for every threat and loss, and their union (``RobustAccuracy.as_json``)."""
    attacks = attacks_on(threats, losses, Settings(steps=steps, restarts=restarts, larger_radii=larger_radii))
    return robust_accuracy(model, images, labels, attacks, seeds=seeds, batch_size=batch_size).as_json()


def attacks_on(
    threats: Sequence[Threat], losses: Sequence[LossName], settings: Settings
) -> list[tuple[Threat, Settings]]:
    """Every threat with every loss; ``settings.larger_radii`` goes to the l_1 threats alone, where it is defined."""
    return [
        (threat, replace(settings, loss=loss, larger_radii=settings.larger_radii and threat.norm == "L1"))
        for threat in threats
        for loss in losses
    ]


def _attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: tuple[Threat, Settings],
    *,
    seeds: Sequence[int],
    batch_size: int,
    keep_points: bool,
    on_progress: OnAttacked,
) -> tuple[Tensor, ThreatResult]:
    threat, settings = attack
    started = time.perf_counter()
    outcomes = []
    for number, seed in enumerate(seeds):
        told = _part(on_progress, number, len(seeds))
        outcomes.append(
            apgd(model, images, labels, threat, settings, seed=seed, batch_size=batch_size, on_progress=told)
        )
        told(1.0)
    robust = torch.stack([outcome.robust for outcome in outcomes])
    points = torch.stack([outcome.points for outcome in outcomes]) if keep_points else None
    result = ThreatResult(threat, settings, robust, time.perf_counter() - started, points)
    return outcomes[0].clean, result


def _part(on_progress: OnAttacked | None, number: int, parts: int) -> OnAttacked:
    """Tell the share of the whole when told that of one of its equal parts."""
    return lambda share: on_progress((number + share) / parts) if on_progress else None


def _shares(flags: Tensor) -> list[float]:
    shares: list[float] = flags.double().mean(1).tolist()
    return shares
