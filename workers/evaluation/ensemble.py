"""Ensembles of models: as one model, and from what is known of the members."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from search.evaluation import Average, Outcome, Passes, SetOutcome
from workers.evaluation.labels import LabelSpace
from workers.evaluation.tally import Tally


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


def ensemble_outcome(
    members: Sequence[Outcome],
    average: Average,
    spaces: Sequence[LabelSpace],
    accepted: Sequence[Sequence[Sequence[int]] | None],
) -> Outcome:
    """The ensemble of models whose outcomes keep their logits; ``spaces`` and ``accepted`` are each set's labels.

    It costs no pass, and keeps its logits. Raises ValueError when a member's logits were not kept.
    """
    sets = []
    finite = True
    for place, (space, labels) in enumerate(zip(spaces, accepted, strict=True)):
        logits = average_logits([_logits(member.sets[place]) for member in members], average)
        tally = Tally(members[0].sets[place].total, is_labelled=labels is not None, keep_logits=True)
        tally.add(space.outcomes(logits, None if labels is None else space.mask(labels)), logits)
        finite &= tally.finite
        sets.append(tally.result())
    return Outcome("complete" if finite else "not_finite", tuple(sets), Passes())


def average_logits(members: Sequence[NDArray[np.floating]], average: Average) -> Tensor:
    """Mean of the members' logits, or the logarithm of the sum of their softmax: float64 of shape (N, classes)."""
    wide = [torch.from_numpy(np.asarray(logits)).double() for logits in members]
    if average == "logits":
        return torch.stack(wide).sum(dim=0) / len(wide)
    return torch.stack([logits.log_softmax(dim=1) for logits in wide]).logsumexp(dim=0)


def _logits(outcome: SetOutcome) -> NDArray[np.float32]:
    if outcome.logits is None:
        raise ValueError("a member of an ensemble is evaluated with its logits kept")
    return outcome.logits
