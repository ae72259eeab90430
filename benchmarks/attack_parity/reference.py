"""The authors' APGD, asked the same question as ours."""

import warnings

import torch
from pyautoattack.autopgd_base import APGDAttack, APGDAttack_targeted
from torch import Tensor, nn

from workers.attacks.attack import Attack


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
