"""The authors' APGD, asked the same question as ours."""

import warnings

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor, nn

from workers.attacks.apgd import Settings
from workers.attacks.threat import Threat


def reference_points(
    model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, settings: Settings, *, seed: int
) -> Tensor:
    """What the authors' code returns: misclassified points (N, ...) where it found any, the images elsewhere."""
    shared = {
        "n_iter": settings.steps,
        "norm": threat.norm,
        "n_restarts": settings.restarts,
        "eps": threat.eps,
        "seed": seed,
        "use_largereps": settings.larger_radii,
        "device": images.device,
    }
    with warnings.catch_warnings():
        # It warns of images without a gradient, which small networks have.
        warnings.simplefilter("ignore")
        if settings.loss == "targeted-dlr":
            attack = APGDAttack_targeted(model, n_target_classes=settings.targets, **shared)
        else:
            attack = APGDAttack(model, loss=settings.loss, **shared)
        points: Tensor = attack.perturb(images, labels)
    return points


def reference_robust(
    model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, settings: Settings, *, seed: int
) -> Tensor:
    """Which images (N,) the authors' attack leaves right."""
    points = reference_points(model, images, labels, threat, settings, seed=seed)
    with torch.no_grad():
        robust: Tensor = model(points).argmax(1) == labels
    return robust
