"""Mixed precision: which arithmetic forward and backward passes use."""

from __future__ import annotations

from contextlib import AbstractContextManager

import torch

from lab.training.recipe import Precision

MOST_SKIPPED = 30
"""Steps in a row that the scaling may skip; by then the scale is a billionth of what it was."""
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


def update_scale(scaler: torch.amp.GradScaler) -> bool:
    """Adapt the scale after a step; returns whether the step was skipped, since gradients overflowed at this scale."""
    before = scaler.get_scale()
    scaler.update()
    return bool(scaler.get_scale() < before)
