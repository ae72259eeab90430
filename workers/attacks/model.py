"""Models as an attack sees them: pixels in [0, 1] in, logits out, in evaluation mode and exact arithmetic."""

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Self

import torch
from torch import Tensor, nn


class NormalizedModel(nn.Module):
    """``model`` behind its own normalisation, so that images stay in [0, 1] outside.

    ``mean`` and ``std`` hold one number a channel. Raises ValueError if they differ in length or a std is not
    positive.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, model: nn.Module, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        if len(mean) != len(std):
            raise ValueError(f"mean has {len(mean)} channels and std {len(std)}: give one number a channel for both")
        if min(std) <= 0:
            raise ValueError(f"every std must be positive, not {list(std)}")
        self.model = model
        like = next(model.parameters(), torch.empty(0))
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, like.new_tensor(values).view(1, -1, 1, 1), persistent=False)

    @classmethod
    def from_data_config(cls, model: nn.Module, config: Mapping[str, Any]) -> Self:
        """Normalise as timm does: ``config`` is ``model.pretrained_cfg`` or ``timm.data.resolve_data_config(...)``.

        Raises KeyError if the config names no mean or std.
        """
        return cls(model, config["mean"], config["std"])

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, C) of ``images`` (N, channels, H, W) in [0, 1]."""
        logits: Tensor = self.model((images - self.mean) / self.std)
        return logits


class ColumnModel(nn.Module):
    """``model`` as a classifier among columns, each one or several of its classes.

    The logit of a column is the logarithm of the mean softmax over its classes, up to a constant of the image: the
    prediction and the cross-entropy are those that the columns are scored by, so that an attack aims at what counts.
    With columns of one class each it is that class's logit.
    """

    def __init__(self, model: nn.Module, columns: Sequence[Sequence[int]]) -> None:
        super().__init__()
        self.model = model
        self.columns = tuple(tuple(column) for column in columns)

    def forward(self, images: Tensor) -> Tensor:
        """Logits (N, columns) of ``images`` (N, ...)."""
        logits: Tensor = self.model(images)
        if all(len(column) == 1 for column in self.columns):
            return logits[:, [column[0] for column in self.columns]]
        means = [logits[:, list(column)].logsumexp(1) - math.log(len(column)) for column in self.columns]
        return torch.stack(means, 1)


def correct(logits: Tensor, labels: Tensor) -> Tensor:
    """Which rows (N,) of ``logits`` (N, C) are finite and highest at their label: NaN is never right."""
    return (logits.argmax(1) == labels) & logits.isfinite().all(1)


def device_of(model: nn.Module, otherwise: torch.device) -> torch.device:
    """Where the parameters of ``model`` lie; ``otherwise`` if it has none."""
    parameter = next(model.parameters(), None)
    return otherwise if parameter is None else parameter.device


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Hold ``model`` in eval mode, then give every submodule the mode it had."""
    modes = {module: module.training for module in model.modules()}
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode


@contextmanager
def exact_arithmetic() -> Iterator[None]:
    """Convolutions in IEEE float32 by deterministic algorithms, forwards and backwards."""
    with torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True, allow_tf32=False):
        yield
