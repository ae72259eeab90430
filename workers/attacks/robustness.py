"""Robust accuracy: which images withstand each attack, and which withstand all of them."""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from workers.attacks.apgd import OnAttacked, apgd
from workers.attacks.attack import Attack
from workers.attacks.model import evaluating, exact_arithmetic


@dataclass(frozen=True)
class AttackResult:
    """One attack, run from each of S seeds.

    ``robust`` (S, N) bool: still right after the attack; ``seconds`` for all seeds together; ``points``
    (S, N, ...) as in ``Attacked``, or None where they were not asked for.
    """

    attack: Attack
    robust: Tensor
    seconds: float
    points: Tensor | None

    def as_json(self) -> dict[str, Any]:
        """The attack by name, with targets where its loss has some, and the robust accuracy, one number a seed."""
        attack = self.attack
        targets = {"targets": attack.targets} if attack.targeted else {}
        return {
            "norm": attack.threat.norm,
            "eps": attack.threat.eps,
            "loss": attack.loss,
            "steps": attack.steps,
            "restarts": attack.restarts,
            **targets,
            "larger_radii": attack.larger_radii,
            "robust": _shares(self.robust),
            "seconds": round(self.seconds, 3),
        }


@dataclass(frozen=True)
class RobustAccuracy:
    """Which of N images are right: ``clean`` (N,) before any attack, and after each attack of ``threats``."""

    clean: Tensor
    threats: tuple[AttackResult, ...]

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
    attacks: Sequence[Attack],
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


def _attack(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    attack: Attack,
    *,
    seeds: Sequence[int],
    batch_size: int,
    keep_points: bool,
    on_progress: OnAttacked,
) -> tuple[Tensor, AttackResult]:
    started = time.perf_counter()
    outcomes = []
    for number, seed in enumerate(seeds):
        told = _part(on_progress, number, len(seeds))
        outcomes.append(apgd(model, images, labels, attack, seed=seed, batch_size=batch_size, on_progress=told))
        told(1.0)
    robust = torch.stack([outcome.robust for outcome in outcomes])
    points = torch.stack([outcome.points for outcome in outcomes]) if keep_points else None
    result = AttackResult(attack, robust, time.perf_counter() - started, points)
    return outcomes[0].clean, result


def _part(on_progress: OnAttacked | None, number: int, parts: int) -> OnAttacked:
    """Tell the share of the whole when told that of one of its equal parts."""
    return lambda share: on_progress((number + share) / parts) if on_progress else None


def _shares(flags: Tensor) -> list[float]:
    shares: list[float] = flags.double().mean(1).tolist()
    return shares
