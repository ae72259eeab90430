"""Detecting trainings that diverge, so that nothing is kept of them or built on them."""

from __future__ import annotations

import torch
from torch import Tensor, nn


def diverged(sign: str) -> ValueError:
    """The error for a training that shows ``sign`` of divergence; it says what to change."""
    return ValueError(
        f"the training diverged, {sign}: lower optimizer.learning_rate, set optimizer.clip_norm, "
        "or lengthen optimizer.warmup"
    )


def not_finite(network: nn.Module) -> str | None:
    """The name of the first parameter or buffer of ``network`` that holds a non-finite value, or None."""
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            return name
    return None


@torch.no_grad()
def check_logits(model: nn.Module, images: Tensor) -> None:
    """Raise ValueError if ``model``, in eval mode, gives non-finite logits for ``images`` (N, C, H, W)."""
    if not torch.isfinite(model(images)).all():
        raise diverged("the network's logits for test images are not finite")
