"""Losses an attack maximises, one value an image.

Each takes logits (N, C), labels (N,) and target classes (N,); those without a target ignore the last.
"""

from collections.abc import Callable
from typing import Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional

from workers.attacks.attack import LossName


class Loss(Protocol):
    """One loss an image."""

    def __call__(self, logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
        """Logits (N, C), labels (N,) and target classes (N,) to losses (N,)."""
        ...


def cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Cross-entropy (N,) with the label."""
    return functional.cross_entropy(logits, labels, reduction="none")


def targeted_cross_entropy(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:  # noqa: ARG001
    """Minus the cross-entropy (N,) with the target."""
    return -functional.cross_entropy(logits, targets, reduction="none")


def dlr(logits: Tensor, labels: Tensor, targets: Tensor | None = None) -> Tensor:  # noqa: ARG001
    """Difference of logits ratio (N,), at least 3 classes (Croce and Hein, ICML 2020, equation 6)."""
    top = logits.topk(3, dim=1)
    runner_up = torch.where(top.indices[:, 0] == labels, top.values[:, 1], top.values[:, 0])
    return (runner_up - _at(logits, labels)) / (top.values[:, 0] - top.values[:, 2] + 1e-12)


def targeted_dlr(logits: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Difference of logits ratio towards a target (N,), at least 4 classes (Croce and Hein, ICML 2020, equation 7)."""
    first, _, third, fourth = logits.topk(4, dim=1).values.unbind(1)
    return (_at(logits, targets) - _at(logits, labels)) / (first - (third + fourth) / 2 + 1e-12)


def _at(logits: Tensor, classes: Tensor) -> Tensor:
    return logits.gather(1, classes[:, None]).squeeze(1)


LOSSES: dict[LossName, Loss] = {
    "ce": cross_entropy,
    "dlr": dlr,
    "targeted-ce": targeted_cross_entropy,
    "targeted-dlr": targeted_dlr,
}


def loss_gradient(model: nn.Module, points: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, C), the ``loss`` (N,) of them and its gradient in each point (N, ...), all detached.

    Parameters get no gradient. Images must not influence each other in ``model``: put it into eval mode, unless
    the batch's own statistics are wanted. Logits of half precision are widened before the loss.
    """
    with torch.enable_grad():
        leaf = points.detach().requires_grad_()
        logits = _wide(model(leaf))
        losses = loss(logits)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return logits.detach(), losses.detach(), gradient


@torch.no_grad()
def loss_only(model: nn.Module, points: Tensor, loss: Callable[[Tensor], Tensor]) -> tuple[Tensor, Tensor]:
    """Logits (N, C) and losses (N,), as ``loss_gradient`` gives them."""
    logits = _wide(model(points))
    return logits, loss(logits)


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in {torch.float16, torch.bfloat16} else logits
