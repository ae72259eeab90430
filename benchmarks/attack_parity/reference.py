"""The authors' APGD and Square attack, asked the same question as ours."""

import warnings

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from pyautoattack.square import SquareAttack
from torch import Tensor, nn

from workers.attacks.attack import Attack
from workers.attacks.threat import Threat


def reference_points(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, seed: int) -> Tensor:
    """What the authors' code returns: misclassified points (N, ...) where it found any, the images elsewhere."""
    shared = {
        "n_iter": attack.steps,
        "norm": attack.threat.norm,
        "n_restarts": attack.restarts,
        "eps": attack.threat.eps,
        "seed": seed,
        "use_largereps": attack.larger_radii,
        "device": images.device,
    }
    with warnings.catch_warnings():
        # It warns of images without a gradient, which small networks have.
        warnings.simplefilter("ignore")
        if attack.loss == "targeted-dlr":
            theirs = APGDAttack_targeted(model, n_target_classes=attack.targets, **shared)
        else:
            theirs = APGDAttack(model, loss=attack.loss, **shared)
        points: Tensor = theirs.perturb(images, labels)
    return points


def reference_robust(model: nn.Module, images: Tensor, labels: Tensor, attack: Attack, *, seed: int) -> Tensor:
    """Which images (N,) the authors' attack leaves right."""
    points = reference_points(model, images, labels, attack, seed=seed)
    with torch.no_grad():
        robust: Tensor = model(points).argmax(1) == labels
    return robust


def reference_square(
    model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, queries: int, *, seed: int
) -> Tensor:
    """Which images (N,) the authors' Square attack leaves right, after ``queries`` proposals an image."""
    theirs = SquareAttack(model, norm=threat.norm, eps=threat.eps, n_queries=queries, seed=seed, device=images.device)
    with torch.no_grad():
        robust: Tensor = model(theirs.perturb(images, labels)).argmax(1) == labels
    return robust
