"""The labels of all images of a task."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.evaluation.sets import EncodedSet


class PooledLabels:
    """The labels of several sets, one set after the other, on ``device``; N labelled images in all.

    Sets without labels are passed over. ``sizes`` are the other sets' numbers of images, ``first`` the first column
    that each image of a set accepts, and ``rows``, int64 (N,), the places of the labelled images among all.

    Raises ValueError when no set has labels.
    """

    def __init__(self, sets: Sequence[EncodedSet], device: torch.device | str = "cpu") -> None:
        labelled = [source for source in sets if source.accepted is not None]
        if not labelled:
            raise ValueError(
                "a last layer or a temperature is fitted to labels, and no set has any: label images, or ask for "
                'head "keep" and no temperature'
            )
        known = torch.cat([torch.full((len(source),), source.accepted is not None) for source in sets])
        self.rows = torch.nonzero(known).squeeze(1).to(device)
        self._spaces = [source.space for source in labelled]
        self._masks = [source.space.mask(source.labels).to(device) for source in labelled]
        self.sizes = [len(mask) for mask in self._masks]
        self.first: list[list[int]] = [mask.to(torch.int64).argmax(dim=1).tolist() for mask in self._masks]

    @property
    def accepted(self) -> Tensor:
        """The right classes of each image, bool (N, classes). Raises ValueError unless columns are classes."""
        if not all(space.is_plain for space in self._spaces):
            raise ValueError(
                "a last layer is refitted where the labels are the model's classes, and a label map gives them other "
                'columns: ask for head "keep"'
            )
        return torch.cat(self._masks)

    def nll(self, logits: Tensor) -> Tensor:
        """The negative log-likelihood of each image's labels, in nats, float64 (N,), for logits (N, classes)."""
        parts = zip(self._spaces, torch.split(logits, self.sizes), self._masks, strict=True)
        return torch.cat([-space.log_likelihood(part, mask) for space, part, mask in parts])
