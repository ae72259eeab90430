"""The direction of steepest ascent of a loss within each norm."""

import torch
from torch import Tensor

from workers.attacks.projection import lp_norm, per_image
from workers.attacks.threat import Threat


def ascent_direction(gradient: Tensor, threat: Threat, density: Tensor | float) -> Tensor:
    """The unit step (N, ...) along which the loss with ``gradient`` (N, ...) grows most.

    l_inf: the sign. l_2: the gradient over its norm. l_1: the signs of the largest entries, divided by their
    number; ``density``, a number or a tensor (N,), is the fraction of entries that move (l_1 only).
    """
    if threat.norm == "Linf":
        return gradient.sign()
    if threat.norm == "L2":
        return gradient / per_image(lp_norm(gradient, threat) + 1e-12, gradient)
    return _sparse_sign(gradient, density)


def _sparse_sign(gradient: Tensor, density: Tensor | float) -> Tensor:
    flat = gradient.flatten(1)
    size = flat.abs()
    signs = torch.where(size >= _smallest_moved(size, density), flat.sign(), 0)
    return (signs / (signs.abs().sum(1, keepdim=True) + 1e-10)).view_as(gradient)


def _smallest_moved(size: Tensor, density: Tensor | float) -> Tensor:
    """The value (N, 1) of the smallest of the ``density`` largest entries in each row of ``size`` (N, D)."""
    entries = size.shape[1]
    if not isinstance(density, Tensor):
        rank = min(int((1 - density) * entries), entries - 1)
        return size.kthvalue(rank + 1, dim=1, keepdim=True).values
    still = ((1 - density) * entries).long().clamp(0, entries - 1)
    moved = entries - still
    return size.topk(int(moved.max()), dim=1).values.gather(1, moved[:, None] - 1)
