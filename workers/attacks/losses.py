"""Losses an attack maximises, one value an image."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[Tensor, Tensor], Tensor]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross-entropy (N,) of ``logits`` (N, C) and ``labels`` (N,)."""
    return functional.cross_entropy(logits, labels, reduction="none")


def loss_gradient(model: nn.Module, points: Tensor, labels: Tensor, loss: Loss) -> tuple[Tensor, Tensor, Tensor]:
    """Logits (N, C), losses (N,) and the gradient of each loss in its own point (N, ...), all detached.

    Parameters get no gradient. Images must not influence each other in ``model``: put it into eval mode, unless
    the batch's own statistics are wanted.
    """
    with torch.enable_grad():
        leaf = points.detach().requires_grad_()
        logits = model(leaf)
        losses = loss(logits, labels)
        (gradient,) = torch.autograd.grad(losses.sum(), leaf)
    return logits.detach(), losses.detach(), gradient.detach()
