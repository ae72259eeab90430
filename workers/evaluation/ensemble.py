"""Ensembles of models, as one model."""

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

Average = Literal["logits", "softmax"]


class EnsembleModel(nn.Module):
    """Averages the members' logits, or their softmax, whose logarithm is then the output.

    The argmax and the cross-entropy of the output are the ensemble's. Every pass goes through each member.
    """

    def __init__(self, members: Sequence[nn.Module], average: Average) -> None:
        super().__init__()
        self.members = nn.ModuleList(members)
        self.average = average

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs (N, C, H, W) as the members take them, to (N, classes)."""
        logits = torch.stack([member(inputs) for member in self.members])
        if self.average == "logits":
            return logits.mean(dim=0)
        return logits.log_softmax(dim=2).logsumexp(dim=0) - torch.tensor(float(len(self.members))).log()
