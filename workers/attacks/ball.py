"""l_p balls: norms, projections, steepest ascent, random points.

Images are tensors (N, ...) of a floating dtype; every image is treated on its own.
"""

import numpy as np
import torch
from torch import Tensor

from workers.attacks.threat import Norm, Threat

_MOST_NEWTON_STEPS = 64
_BISECT_EVERY = 4


def per_image(values: Tensor, images: Tensor) -> Tensor:
    """View ``values`` (N,) as (N, 1, ..., 1), so that it broadcasts against ``images`` (N, ...)."""
    return values.view(-1, *(1,) * (images.dim() - 1))


def lp_norm(perturbations: Tensor, threat: Threat) -> Tensor:
    """The norms (N,) of ``perturbations`` (N, ...) in the threat's norm."""
    order = {"Linf": torch.inf, "L2": 2, "L1": 1}[threat.norm]
    norms: Tensor = torch.linalg.vector_norm(perturbations.flatten(1), ord=order, dim=1)
    return norms


def project_ball(perturbations: Tensor, threat: Threat) -> Tensor:
    """The closest perturbations (N, ...), in Euclidean distance, of norm at most ``threat.eps``."""
    if threat.norm == "Linf":
        return perturbations.clamp(-threat.eps, threat.eps)
    if threat.norm == "L2":
        scale = (threat.eps / lp_norm(perturbations, threat).clamp_min(1e-12)).clamp_max(1)
        return perturbations * per_image(scale, perturbations)
    unbounded = torch.full_like(perturbations, torch.inf)
    return _project_l1(perturbations, -unbounded, unbounded, threat.eps)


def project(points: Tensor, images: Tensor, threat: Threat) -> Tensor:
    """Bring ``points`` (N, ...) into the ball around ``images`` (N, ..., in [0, 1]) and into the box.

    For l_inf and l_1 the result is the closest point of the intersection of ball and box (for l_1: Croce and Hein,
    "Mind the box", ICML 2021, proposition 2.1). For l_2 it is the closest point of the ball, clamped to the box:
    feasible, but not in general the closest.
    """
    if threat.norm == "Linf":
        nearest = points.clamp(images - threat.eps, images + threat.eps)
    elif threat.norm == "L2":
        nearest = images + project_ball(points - images, threat)
    else:
        nearest = images + _project_l1(points - images, -images, 1 - images, threat.eps)
    return nearest.clamp_(0, 1)


def _project_l1(perturbations: Tensor, lower: Tensor, upper: Tensor, eps: float) -> Tensor:
    """Closest perturbations with l_1 norm at most eps and lower <= perturbation <= upper (lower <= 0 <= upper)."""
    size = perturbations.abs().flatten(1)
    room = torch.where(perturbations > 0, upper, -lower).flatten(1)
    nearest = torch.minimum(size, room)
    too_long = (nearest.sum(1) > eps).nonzero().squeeze(1)
    if len(too_long):
        long, bound = size[too_long], room[too_long]
        cut = _soft_threshold(long, bound, eps)
        nearest[too_long] = torch.minimum((long - cut).clamp_(min=0), bound)
    return nearest.view_as(perturbations).copysign_(perturbations)


def _soft_threshold(size: Tensor, room: Tensor, eps: float) -> Tensor:
    """The cut (N, 1) with ``sum(min(max(size - cut, 0), room)) = eps`` in every row.

    The sum falls piecewise linearly in the cut, so Newton's method ends on the exact root once it is on the right
    piece; a bracket, halved now and then, gets it there. A row is left alone as soon as it is solved, which makes
    it independent of the rows beside it.
    """
    below, above = torch.zeros_like(size[:, :1]), size.amax(1, keepdim=True)
    cut = below.clone()
    resolution = 2 * torch.finfo(size.dtype).eps
    for step in range(1, _MOST_NEWTON_STEPS + 1):
        rest = (size - cut).clamp_(min=0)
        moving = ((rest > 0) & (rest < room)).sum(1, keepdim=True)
        excess = torch.minimum(rest, room).sum(1, keepdim=True) - eps
        solved = excess.abs() <= 1e-6 * eps + resolution * cut * moving
        if solved.all():
            break
        below, above = torch.where(excess > 0, cut, below), torch.where(excess > 0, above, cut)
        newton, middle = cut + excess / moving, (below + above) / 2
        usable = (newton > below) & (newton < above) & (step % _BISECT_EVERY != 0)
        cut = torch.where(solved, cut, torch.where(usable, newton, middle))
    return cut


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


def random_start(images: Tensor, threat: Threat, seed: int, indices: Tensor, draw: int = 0) -> Tensor:
    """A random point (N, ...) of the ball around each of ``images`` (N, ...) and of the box.

    It depends on the seed and the image alone, never on the batch around it or on the device. l_inf and l_2: on the
    sphere, then clamped; l_1: normal noise, projected. ``indices`` (N,) are the images' indices in their set; ``draw``
    counts the starts of one image.
    """
    noise = image_noise(images, threat.norm, seed, indices, draw)
    if threat.norm == "L1":
        return project(images + noise, images, threat)
    if threat.norm == "Linf":
        unit = noise / (noise.flatten(1).abs().amax(1).view(-1, *(1,) * (images.dim() - 1)) + 1e-12)
    else:
        unit = ascent_direction(noise, threat, 1.0)
    return (images + threat.eps * unit).clamp_(0, 1)


def image_noise(images: Tensor, norm: Norm, seed: int, indices: Tensor, draw: int) -> Tensor:
    """Noise like ``images`` (N, ...): uniform in [-1, 1] for l_inf, standard normal otherwise."""
    size = images[0].numel()
    rows = np.empty((len(images), size), dtype=np.float32)
    for row, index in zip(rows, indices.tolist(), strict=True):
        generator = np.random.Generator(np.random.Philox(key=[seed, index], counter=[0, 0, draw, 0]))
        if norm == "Linf":
            row[:] = 2 * generator.random(size, dtype=np.float32) - 1
        else:
            generator.standard_normal(dtype=np.float32, out=row)
    return torch.from_numpy(rows).view(images.shape).to(images)
