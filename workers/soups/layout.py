"""Where each tensor of a model lies in one flat vector."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.models._manipulate import group_with_matcher
from torch import Tensor, nn

ALIGNMENT = 16
"""Slots begin at multiples of 16 float32 (64 bytes): views are then aligned for vector instructions."""

RUNNING_VARIANCE = "running_var"


@dataclass(frozen=True)
class Slot:
    """One floating-point tensor of the model, at ``vector[offset : offset + size]``.

    ``names`` are the state dict's keys of this tensor, several when weights are tied. ``layer`` is the layer that it is
    part of. Kernels of two-dimensional convolutions are stored with their input channels last, as the fastest
    convolutions on a CPU read them.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    offset: int
    layer: int
    channels_last: bool = False

    @property
    def size(self) -> int:
        """Number of floats."""
        return prod(self.shape)

    @property
    def end(self) -> int:
        """Index after the last float."""
        return self.offset + self.size

    def read(self, vector: Tensor) -> Tensor:
        """This tensor as a view of ``vector``, shape (P,); kernels have the strides of channels last."""
        flat = vector[self.offset : self.end]
        if not self.channels_last:
            return flat.view(self.shape)
        outputs, inputs, height, width = self.shape
        return flat.view(outputs, height, width, inputs).permute(0, 3, 1, 2)

    def write(self, vector: NDArray[np.float32], tensor: Tensor) -> None:
        """Store ``tensor`` of this slot's shape and any floating-point type into ``vector``, shape (P,)."""
        ordered = tensor.permute(0, 2, 3, 1) if self.channels_last else tensor
        vector[self.offset : self.end] = ordered.reshape(-1).to(torch.float32).numpy()

    @property
    def is_running_variance(self) -> bool:
        """Whether this is a BatchNorm's running variance, which must stay positive."""
        return self.names[0].rpartition(".")[2] == RUNNING_VARIANCE


@dataclass(frozen=True)
class Layout:
    """All floating-point tensors of a model in one vector of ``size`` floats, and the names of its other buffers.

    Parameters and floating-point buffers (BatchNorm's running statistics) are averaged in a soup, so they have slots;
    integer and boolean buffers are not. The gaps between slots are zero.

    ``layers`` counts the layers, from the stem, which is 0, over each block to the classifier, which is the last. They
    are those of timm's layer-wise learning rates; a model that does not name any has its top modules as layers.
    """

    slots: tuple[Slot, ...]
    integer_names: tuple[str, ...]
    size: int
    layers: int

    @classmethod
    def of(cls, model: nn.Module) -> "Layout":
        """The layout of ``model``, which may be on the meta device, in the order of its state dict."""
        kernels = {id(module.weight) for module in model.modules() if isinstance(module, nn.Conv2d)}
        tied: dict[int, list[str]] = {}
        tensors: dict[int, Tensor] = {}
        integer_names = []
        for name, tensor in model.state_dict(keep_vars=True).items():
            if not tensor.is_floating_point():
                integer_names.append(name)
                continue
            tied.setdefault(id(tensor), []).append(name)
            tensors[id(tensor)] = tensor
        layers = _layers(model, [names[0] for names in tied.values()])
        slots = []
        end = 0
        for key, tensor in tensors.items():
            slots.append(Slot(tuple(tied[key]), tuple(tensor.shape), end, layers[tied[key][0]], key in kernels))
            end += -(-tensor.numel() // ALIGNMENT) * ALIGNMENT
        return cls(tuple(slots), tuple(integer_names), end, max(layers.values(), default=0) + 1)

    def segments(self) -> list[tuple[int, slice]]:
        """Stretches of the vector that belong to one layer each, with their layer; together they are all of it."""
        starts = [slot for before, slot in pairwise(self.slots) if slot.layer != before.layer]
        firsts = [*self.slots[:1], *starts]
        ends = [*(slot.offset for slot in starts), self.size]
        return [(slot.layer, slice(slot.offset, end)) for slot, end in zip(firsts, ends, strict=True)]

    @property
    def parameters(self) -> int:
        """Floats of one ingredient without the gaps, tied weights once."""
        return sum(slot.size for slot in self.slots)


def _layers(model: nn.Module, names: Sequence[str]) -> dict[str, int]:
    """The layer of each tensor."""
    matcher_of: Any = getattr(model, "group_matcher", None)
    if matcher_of is None:
        modules = {module: place for place, module in enumerate(dict.fromkeys(name.split(".")[0] for name in names))}
        return {name: modules[name.split(".")[0]] for name in names}
    named = ((name, None) for name in names)
    found: dict[str, int] = group_with_matcher(named, matcher_of(coarse=False), reverse=True)
    return found
