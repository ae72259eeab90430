"""Mixed precision: which arithmetic forward and backward passes use."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from lab.training.recipe import Precision

MOST_SKIPPED = 30
"""How many steps in a row the scaling may skip; by then the scale is a billionth of what it was."""
_DTYPES = {"bfloat16": torch.bfloat16, "float16": torch.float16}


def autocast(device: torch.device, precision: Precision) -> AbstractContextManager[None]:
    """A context in which operations that support it run in ``precision``; parameters stay in float32.

    Raises ValueError for float16 on anything but a GPU, where its gradients cannot be scaled.
    """
    if precision == "float16" and device.type != "cuda":
        raise ValueError(f"precision float16 needs a GPU: use bfloat16 or float32 on {device.type}")
    dtype = _DTYPES.get(precision, torch.bfloat16)
    context: AbstractContextManager[None] = torch.autocast(device.type, dtype=dtype, enabled=precision != "float32")
    return context


def gradient_scaler(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """Scales losses so that float16 gradients do not vanish. Does nothing in the other precisions."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


def update_scale(scaler: torch.amp.GradScaler) -> bool:
    """Adapt the scale after a step. Returns whether the step was skipped because gradients overflowed at this scale."""
    before = scaler.get_scale()
    scaler.update()
    return bool(scaler.get_scale() < before)
