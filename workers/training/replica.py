"""One process among those that train a network together."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Replica:
    """Process ``rank`` of ``size``; each trains on its share of every batch, and the first one writes the files."""

    rank: int = 0
    size: int = 1

    @classmethod
    def current(cls) -> Self:
        """This process's place in PyTorch's default process group, or alone where there is none."""
        if not (distributed.is_available() and distributed.is_initialized()):
            return cls()
        return cls(distributed.get_rank(), distributed.get_world_size())

    @property
    def is_first(self) -> bool:
        """Whether this process reports and writes."""
        return self.rank == 0

    def share(self, rows: Tensor) -> Tensor:
        """This process's rows of a batch: every ``size``-th, from ``rank`` on."""
        return rows[self.rank :: self.size]

    def parallel(self, model: nn.Module) -> nn.Module:
        """``model`` with its gradients averaged over the processes. All processes wait for each other here."""
        if self.size == 1:
            return model
        device = next(model.parameters()).device
        return DistributedDataParallel(model, device_ids=[device] if device.type == "cuda" else None)

    def mean(self, value: float, device: torch.device) -> float:
        """The mean over the processes, the same in all of them."""
        if self.size == 1:
            return value
        total = torch.tensor(value, dtype=torch.float64 if device.type == "cpu" else torch.float32, device=device)
        distributed.all_reduce(total)
        return float(total) / self.size
