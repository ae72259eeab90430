"""The labels of all images of a task."""

from collections.abc import Sequence

import torch
from torch import Tensor

from workers.evaluation.sets import LabelledColumns


class PooledLabels:
    """The labels of several sets, one set after the other, on ``device``; N images in all.

    ``sizes`` are the sets' numbers of images, ``first`` the first column that each image of a set accepts.

    Raises ValueError when a set has none.
    """

    def __init__(self, sets: Sequence[LabelledColumns], device: torch.device | str = "cpu") -> None:
        if any(source.accepted is None for source in sets):
            raise ValueError(
                "a last layer or a temperature is fitted to labels, and a set has none: label its images, or ask for "
                'head "keep" and no temperature'
            )
        self._spaces = [source.space for source in sets]
        self._masks = [source.space.mask(source.accepted or ()).to(device) for source in sets]
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
