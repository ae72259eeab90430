"""Mixed precision: which arithmetic forward and backward passes use."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from workers.training.recipe import Precision

LEAST_SCALE = 1e-4
"""A loss scale below it was halved 30 times: the gradients overflow whatever the scale, and no step was taken."""
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """A context in which operations that allow it run in ``precision``; parameters stay in float32.

    Raises ValueError for float16 elsewhere than on a GPU, where its gradients cannot be scaled.
    """
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"precision float16 needs a GPU: use bfloat16 or float32 on {device.type}")
    dtype = _DTYPES.get(precision, torch.bfloat16)
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=dtype, enabled=precision != "float32")
    return context


def gradient_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Scales losses so that gradients of float16 do not vanish; does nothing in the other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


def overflows(scaler: torch.amp.GradScaler) -> bool:
    """Whether gradients overflow float16 at every scale, so that ``scaler`` skips all steps."""
    return scaler.is_enabled() and scaler.get_scale() < LEAST_SCALE
