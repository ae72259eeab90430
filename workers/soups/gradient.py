"""Gradients with respect to soup weights."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from workers.soups.layout import Slot
from workers.soups.resident import ResidentSoup

_BLOCK = 2**20
"""Floats of each ingredient that are widened to float64 at once."""


@dataclass(frozen=True)
class _Statistics:
    """A BatchNorm's running statistics: where they lie in the soup's vector, and the resident ``variances``."""

    module: _BatchNorm
    mean: Slot
    variance: Slot
    variances: Tensor


class WeightGradient:
    """Differentiates numbers that the model of ``soup`` gives with respect to the soup weights.

    The weights enter linearly, theta = sum_i w_i theta_i, so dL/dw_i = <dL/dtheta, theta_i>: one backward pass, and n
    dot products with the resident ingredients, in float64. In a layer-wise soup these are taken layer by layer.

    A BatchNorm's running mean m and variance v are part of theta. In evaluation mode it maps x to
    g (x - m) / sqrt(v + eps) + b, so that dL/dm = -g / sqrt(v + eps) dL/db, and dL/dv = -g / (2 (v + eps)) dL/dg.
    A variance that was floored does not depend on the weights. Integer buffers are not averaged, and have no part.

    Raises ValueError for a BatchNorm without g and b of its own.
    """

    def __init__(self, soup: ResidentSoup) -> None:
        self._soup = soup
        layout, state = soup.stack.layout, soup.model.state_dict(keep_vars=True)
        self._statistics = _statistics_of(soup.model, {name: slot for slot in layout.slots for name in slot.names})
        held = {slot.offset for each in self._statistics for slot in (each.mean, each.variance)}
        self._slots = [slot for slot in layout.slots if slot.offset not in held]
        self._tensors: list[Tensor] = [state[slot.names[0]] for slot in self._slots]
        self._segments = layout.segments()

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Inside, what the model computes can be differentiated: call ``of``."""
        for tensor in self._tensors:
            tensor.requires_grad = True
        try:
            yield
        finally:
            for tensor in self._tensors:
                tensor.requires_grad = False

    def of(self, value: Tensor, *, by_layer: bool) -> NDArray[np.float64]:
        """The gradient of the scalar ``value``, float64 (1, n), or (layers, n) ``by_layer``; threads may call it."""
        found = torch.autograd.grad(value, self._tensors, allow_unused=True)
        flat = torch.zeros_like(self._soup.rows[0])
        for slot, gradient in zip(self._slots, found, strict=True):
            if gradient is not None:
                slot.read(flat).copy_(gradient)
        self._add_statistics(flat, dict(zip(map(id, self._tensors), found, strict=True)))
        flat[self._soup.floored] = 0
        products = torch.zeros(self._soup.stack.layout.layers, len(self._soup.rows), dtype=torch.float64)
        for layer, segment in self._segments:
            for start in range(segment.start, segment.stop, _BLOCK):
                block = slice(start, min(start + _BLOCK, segment.stop))
                products[layer] += (self._soup.rows[:, block].double() @ flat[block].double()).cpu()
        if not by_layer:
            products = products.sum(dim=0, keepdim=True)
        return products.numpy()

    def _add_statistics(self, flat: Tensor, gradients: dict[int, Tensor | None]) -> None:
        for each in self._statistics:
            module = each.module
            of_scale, of_shift = gradients[id(module.weight)], gradients[id(module.bias)]
            if of_scale is None or of_shift is None:
                continue
            variance = each.variances + module.eps
            each.mean.read(flat).copy_(-module.weight.detach() / variance.sqrt() * of_shift)
            each.variance.read(flat).copy_(-module.weight.detach() / (2 * variance) * of_scale)


def _statistics_of(model: nn.Module, slots: dict[str, Slot]) -> list[_Statistics]:
    found = []
    owned: set[int] = set()
    for name, module in model.named_modules():
        if not isinstance(module, _BatchNorm) or module.running_var is None:
            continue
        if module.weight is None or module.bias is None or id(module.weight) in owned or id(module.bias) in owned:
            raise ValueError(
                f"{name} is a BatchNorm without scale and shift of its own, so likelihoods cannot be differentiated "
                "with respect to soup weights: choose another strategy"
            )
        owned |= {id(module.weight), id(module.bias)}
        prefix = f"{name}." if name else ""
        mean, variance = slots[f"{prefix}running_mean"], slots[f"{prefix}running_var"]
        found.append(_Statistics(module, mean, variance, module.running_var))
    return found
