"""A process's share of each batch when several processes train one network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import distributed, nn
from torch.nn.parallel import DistributedDataParallel


@dataclass(frozen=True)
class Shard:
    """Share ``rank`` of ``count`` equal shares; by default the only one.

    With several, the processes form torch.distributed's default group, and each must call the communicating methods
    equally often.
    """

    rank: int = 0
    count: int = 1

    @classmethod
    def of_this_process(cls) -> Shard:
        """The share of this process in its group, or the only share if there is no group."""
        if distributed.is_available() and distributed.is_initialized():
            return cls(distributed.get_rank(), distributed.get_world_size())
        return cls()

    @property
    def is_first(self) -> bool:
        """Whether this process is the one that writes."""
        return self.rank == 0

    def rows(self, batch_size: int) -> slice:
        """Where this share lies in a batch. Raises ValueError if the batch does not divide into equal shares.

        Unequal shares would not do: the mean of their gradients is not the batch's gradient.
        """
        size, rest = divmod(batch_size, self.count)
        if rest:
            raise ValueError(f"batch_size {batch_size} does not divide by {self.count} workers: make it a multiple")
        return slice(self.rank * size, (self.rank + 1) * size)

    def seed(self, common: int) -> int:
        """A seed for this share alone, derived from one that all shares have in common, which is the first share's."""
        return (common + self.rank) % (2**63 - 1)

    def parallel(self, model: nn.Module) -> nn.Module:
        """A module whose backward pass leaves the gradient of the whole batch in the parameters of ``model``."""
        return model if self.count == 1 else DistributedDataParallel(model)

    def mean(self, *values: float, device: torch.device) -> tuple[float, ...]:
        """The means of ``values`` over all shares."""
        if self.count == 1:
            return values
        total = torch.tensor(values, dtype=torch.float64, device=device)
        distributed.all_reduce(total)
        return tuple((total / self.count).tolist())


WHOLE = Shard()
"""The share of a process that trains alone."""
