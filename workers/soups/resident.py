"""A model that stays in memory while its weights change from soup to soup."""

import warnings
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workers.soups.layout import Layout
from workers.soups.merge import VarianceFloor
from workers.soups.model import build_model
from workers.soups.stack import IngredientStack, SoupWeights

Precision = Literal["float32", "bfloat16"]
"""Arithmetic of the forward passes; soups are merged in float32 in either."""


@dataclass(frozen=True)
class SoupFlags:
    """What had to be repaired in a soup: BatchNorm channels whose running variance was not positive."""

    floored_channels: int


class ResidentSoup:
    """One model on ``device`` whose parameters and floating-point buffers are views into one flat float32 vector.

    ``set_weights`` writes sum_i w_i theta_i into that vector by one matrix-vector product; the model sees it at once.
    Call ``model`` under ``forward_context`` of the evaluation package, or as any module in evaluation mode.

    ``rows`` float32 (n, P) are the ingredients on the device. ``floored`` are the positions of the running variances
    that the present soup had floored.
    """

    def __init__(
        self, stack: IngredientStack, device: torch.device | str = "cpu", precision: Precision = "float32"
    ) -> None:
        if precision not in get_args(Precision):
            raise ValueError(f"precision is one of {', '.join(get_args(Precision))}, not {precision!r}")
        self.stack = stack
        self.device = torch.device(device)
        self.precision: Precision = precision
        self.model = build_model(stack.config).requires_grad_(requires_grad=False)
        _set_integers(self.model, stack)
        self.model.to(self.device)
        self.rows = _tensor(stack.weights).to(self.device)
        self._flat = torch.zeros(stack.layout.size, dtype=torch.float32, device=self.device)
        _make_views(self.model, stack.layout, self._flat)
        floor = VarianceFloor(stack)
        self._variances = torch.from_numpy(floor.indices).to(self.device)
        self._floors = torch.from_numpy(floor.floors).to(self.device)
        self.floored = self._variances[:0]

    def set_weights(self, weights: SoupWeights) -> SoupFlags:
        """Turn the model into the soup of ``weights``, one for each ingredient in order, or as many for each layer.

        Raises ValueError when there are not so many finite numbers.
        """
        vectors = torch.from_numpy(self.stack.soup_weights(weights)).to(self.device, torch.float32)
        with torch.no_grad():
            if vectors.ndim == 1:
                torch.mv(self.rows.t(), vectors, out=self._flat)
            else:
                for layer, segment in self.stack.layout.segments():
                    torch.mv(self.rows[:, segment].t(), vectors[layer], out=self._flat[segment])
            return SoupFlags(self._floor_variances())

    def ingredients(self) -> list[nn.Module]:
        """The ingredients as models of their own on the device, whose floating-point tensors are not copied."""
        models = []
        for row in self.rows:
            model = build_model(self.stack.config).requires_grad_(requires_grad=False)
            _set_integers(model, self.stack)
            model.to(self.device)
            _make_views(model, self.stack.layout, row)
            models.append(model)
        return models

    def _floor_variances(self) -> int:
        if not self._variances.numel():
            return 0
        variances = self._flat[self._variances]
        low = ~(variances > 0)
        self._flat[self._variances] = torch.where(low, self._floors, variances)
        self.floored = self._variances[low]
        return int(low.sum())


def _tensor(array: NDArray[np.float32]) -> Tensor:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="The given NumPy array is not writable")
        return torch.from_numpy(array)


def _set_integers(model: nn.Module, stack: IngredientStack) -> None:
    state = model.state_dict()
    for name, array in stack.integers.items():
        state[name].copy_(torch.from_numpy(np.array(array)))


def _make_views(model: nn.Module, layout: Layout, flat: Tensor) -> None:
    state = model.state_dict(keep_vars=True)
    for slot in layout.slots:
        state[slot.names[0]].data = slot.read(flat)
