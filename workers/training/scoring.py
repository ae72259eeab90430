"""Clean and robust accuracy of a finished ingredient."""

from __future__ import annotations

import torch
from torch import nn

from workers.attacks.pgd import pgd
from workers.data.labelled_images import LabelledImages
from workers.training.recipe import EvaluationRecipe

_BATCH = 250


def score_ingredient(model: nn.Module, data: LabelledImages, recipe: EvaluationRecipe) -> dict[str, float]:
    """Accuracy on clean images and under PGD in each threat model, keyed ``clean`` and by the threat's text.

    ``model`` maps images in [0, 1] to logits and is in eval mode.
    """
    totals = dict.fromkeys(["clean", *map(str, recipe.threats)], 0)
    for start in range(0, len(data), _BATCH):
        images = torch.from_numpy(data.images[start : start + _BATCH]).float() / 255
        labels = torch.from_numpy(data.labels[start : start + _BATCH])
        for key, points in _points(model, images, labels, recipe):
            with torch.no_grad():
                totals[key] += int((model(points).argmax(1) == labels).sum())
    return {key: total / len(data) for key, total in totals.items()}


def _points(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, recipe: EvaluationRecipe
) -> list[tuple[str, torch.Tensor]]:
    attacked = [(str(threat), pgd(model, images, labels, threat, recipe.steps)) for threat in recipe.threats]
    return [("clean", images), *attacked]
