"""Adversarial training images, under one threat model or several."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from lab.training.precision import autocast
from lab.training.recipe import AdversaryRecipe
from lab.training.shard import WHOLE, Shard
from workers.attacks.apgd import apgd_for_training
from workers.attacks.ball import per_image
from workers.attacks.losses import cross_entropy
from workers.attacks.pgd import pgd, random_points
from workers.attacks.threat import Threat

_MEMORY = 0.9
_SEED_RANGE = 2**63 - 1


class AdversarialTraining:
    """Attacks training batches as a recipe says; see ``AdversaryRecipe`` for the modes.

    ``robust_accuracy`` holds, for each threat model, the running robust accuracy that ``eat`` draws by. All shares of a
    batch are attacked under the same threat model, each from its own random starts.
    """

    def __init__(self, recipe: AdversaryRecipe, shard: Shard = WHOLE) -> None:
        self._recipe = recipe
        self._shard = shard
        self.robust_accuracy = [0.0] * len(recipe.threats)

    def attack(
        self, model: nn.Module, images: Tensor, labels: Tensor, progress: float, generator: torch.Generator
    ) -> Tensor:
        """Perturbed ``images`` (N, C, H, W); ``model``, logits (N, classes) of images in [0, 1], is in eval mode."""
        share = radius_share(self._recipe.delay, self._recipe.warmup, progress)
        if share == 0:
            return images
        with autocast(images.device, self._recipe.precision):
            return self._perturbed(model, images, labels, share, generator)

    def _perturbed(
        self, model: nn.Module, images: Tensor, labels: Tensor, share: float, generator: torch.Generator
    ) -> Tensor:
        threats = [Threat(threat.norm, threat.eps * share) for threat in self._recipe.threats]
        if self._recipe.mode == "max":
            return self._worst(model, images, labels, threats, generator)
        chosen = self._draw(generator)
        perturbed = self._attack(model, images, labels, threats[chosen], generator)
        if self._recipe.mode == "eat":
            self._remember(chosen, model, perturbed, labels)
        return perturbed

    def probabilities(self) -> Tensor:
        """The probability (threats,) that the next batch is attacked under each threat model."""
        count = len(self._recipe.threats)
        if self._recipe.mode != "eat":
            return torch.full((count,), 1 / count)
        errors = 1 - torch.tensor(self.robust_accuracy)
        return errors / errors.sum() if errors.sum() > 0 else torch.full((count,), 1 / count)

    def _draw(self, generator: torch.Generator) -> int:
        if len(self._recipe.threats) == 1:
            return 0
        return int(torch.multinomial(self.probabilities(), 1, generator=generator))

    def _remember(self, chosen: int, model: nn.Module, perturbed: Tensor, labels: Tensor) -> None:
        with torch.no_grad():
            share = float((model(perturbed).argmax(1) == labels).float().mean())
        (correct,) = self._shard.mean(share, device=labels.device)
        self.robust_accuracy[chosen] = _MEMORY * self.robust_accuracy[chosen] + (1 - _MEMORY) * correct

    def _worst(
        self, model: nn.Module, images: Tensor, labels: Tensor, threats: list[Threat], generator: torch.Generator
    ) -> Tensor:
        worst, highest = images, torch.full(labels.shape, -torch.inf, device=images.device)
        for threat in threats:
            perturbed = self._attack(model, images, labels, threat, generator)
            with torch.no_grad():
                losses = cross_entropy(model(perturbed).float(), labels)
            worst = torch.where(per_image(losses > highest, images), perturbed, worst)
            highest = torch.maximum(losses, highest)
        return worst

    def _attack(
        self, model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, generator: torch.Generator
    ) -> Tensor:
        seed = self._shard.seed(int(torch.randint(_SEED_RANGE, (1,), generator=generator)))
        if self._recipe.attack == "apgd":
            return apgd_for_training(model, images, labels, threat, self._recipe.steps)
        generator = torch.Generator(images.device).manual_seed(seed)
        start = random_points(images, threat, generator) if self._recipe.random_start else None
        return pgd(model, images, labels, threat, self._recipe.steps, start=start)


def radius_share(delay: float, warmup: float, progress: float) -> float:
    """The share, in [0, 1], of the full attack radius at ``progress``: 0 until ``delay``, 1 from ``warmup`` on."""
    if progress < delay:
        return 0.0
    return 1.0 if progress >= warmup else max((progress - delay) / (warmup - delay), 0.01)
