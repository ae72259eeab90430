"""Projected gradient ascent with a fixed step, the attack of adversarial training (Madry et al., ICLR 2018)."""

from functools import partial

import torch
from torch import Tensor, nn

from workers.attacks.ball import ascent_direction, per_image, project
from workers.attacks.losses import cross_entropy, loss_gradient, loss_only
from workers.attacks.threat import Threat

TRAINING_DENSITY = 0.05
"""Fraction of the entries that an l_1 step moves in training (Croce and Hein, "Mind the box", section 5)."""


def pgd(
    model: nn.Module,
    images: Tensor,
    labels: Tensor,
    threat: Threat,
    steps: int,
    *,
    start: Tensor | None = None,
    step_size: float | None = None,
) -> Tensor:
    """The iterate (N, ...) of highest cross-entropy among the start and ``steps`` steps, for each image.

    ``images`` (N, ...) lie in [0, 1], ``labels`` (N,) are int64; ``start`` (N, ...) is feasible and defaults to the
    images; ``step_size`` is in units of the norm and defaults to 2.5 eps / steps. The caller decides on train or eval
    mode. Raises ValueError for fewer than one step.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, not {steps}")
    size = 2.5 * threat.eps / steps if step_size is None else step_size
    points = images if start is None else start
    loss = partial(cross_entropy, labels=labels)
    best, highest = points, torch.full_like(labels, -torch.inf, dtype=images.dtype)
    for _ in range(steps):
        _, losses, gradient = loss_gradient(model, points, loss)
        best, highest = _higher(points, losses, best, highest)
        points = project(points + size * ascent_direction(gradient, threat, TRAINING_DENSITY), images, threat)
    _, losses = loss_only(model, points, loss)
    return _higher(points, losses, best, highest)[0]


def _higher(points: Tensor, losses: Tensor, best: Tensor, highest: Tensor) -> tuple[Tensor, Tensor]:
    higher = losses > highest
    return torch.where(per_image(higher, points), points, best), torch.where(higher, losses, highest)


def random_points(images: Tensor, threat: Threat, generator: torch.Generator) -> Tensor:
    """Where training begins to attack ``images`` (N, ...): random points of the ball and the box.

    ``generator`` is on the images' device. l_inf: uniform in the ball; l_2, l_1: normal noise, projected.
    """
    noise = torch.empty_like(images)
    if threat.norm == "Linf":
        return (images + noise.uniform_(-threat.eps, threat.eps, generator=generator)).clamp_(0, 1)
    return project(images + noise.normal_(generator=generator), images, threat)
