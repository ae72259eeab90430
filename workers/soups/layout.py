"""Where each tensor of a model lies in one flat vector."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import prod

from torch import Tensor, nn

ALIGNMENT = 16
"""Slots begin at multiples of 16 float32 (64 bytes): views are then aligned for vector instructions."""

RUNNING_VARIANCE = "running_var"


@dataclass(frozen=True)
class Slot:
    """One floating-point tensor of the model: ``vector[offset : offset + size].view(shape)``.

    ``names`` are the state dict's keys of this tensor, several when weights are tied.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    offset: int

    @property
    def size(self) -> int:
        """Number of floats."""
        return prod(self.shape)

    @property
    def end(self) -> int:
        """Index after the last float."""
        return self.offset + self.size

    @property
    def is_running_variance(self) -> bool:
        """Whether this is a BatchNorm's running variance, which must stay positive."""
        return self.names[0].rpartition(".")[2] == RUNNING_VARIANCE


@dataclass(frozen=True)
class Layout:
    """All floating-point tensors of a model in one vector of ``size`` floats, and the names of its other buffers.

    Parameters and floating-point buffers (BatchNorm's running statistics) are averaged in a soup, so they have slots;
    integer and boolean buffers are not. The gaps between slots are zero.
    """

    slots: tuple[Slot, ...]
    integer_names: tuple[str, ...]
    size: int

    @classmethod
    def of(cls, model: nn.Module) -> "Layout":
        """The layout of ``model``, which may be on the meta device, in the order of its state dict."""
        groups: dict[int, list[str]] = {}
        tensors: dict[int, Tensor] = {}
        integer_names = []
        for name, tensor in model.state_dict(keep_vars=True).items():
            if not tensor.is_floating_point():
                integer_names.append(name)
                continue
            groups.setdefault(id(tensor), []).append(name)
            tensors[id(tensor)] = tensor
        return cls._packed(((tuple(names), tuple(tensors[key].shape)) for key, names in groups.items()), integer_names)

    @classmethod
    def _packed(cls, tensors: Iterable[tuple[tuple[str, ...], tuple[int, ...]]], integers: list[str]) -> "Layout":
        slots = []
        end = 0
        for names, shape in tensors:
            slots.append(Slot(names, shape, end))
            end += -(-prod(shape) // ALIGNMENT) * ALIGNMENT
        return cls(tuple(slots), tuple(integers), end)

    @property
    def parameters(self) -> int:
        """Floats of one ingredient without the gaps, tied weights once."""
        return sum(slot.size for slot in self.slots)
