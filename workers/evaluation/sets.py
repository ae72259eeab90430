"""Images and their labels, ready for a model."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from workers.evaluation.labels import LabelSpace


class LabelledColumns(Protocol):
    """A set of images as far as its labels go."""

    @property
    def accepted(self) -> tuple[tuple[int, ...], ...] | None:
        """The columns that are right for each image; None without labels."""

    @property
    def space(self) -> LabelSpace:
        """What the columns are."""


@dataclass(frozen=True)
class EncodedSet:
    """Images and their labels.

    ``images`` is uint8 of shape (N, C, H, W), as ``encode_images`` returns; ``accepted[i]`` are the columns of
    ``space`` that are right for image i; None where there are no labels. Raises ValueError if the two differ in number.
    """

    images: NDArray[np.uint8]
    accepted: tuple[tuple[int, ...], ...] | None
    space: LabelSpace

    def __post_init__(self) -> None:
        if self.accepted is not None and len(self.images) != len(self.accepted):
            raise ValueError(f"{len(self.images)} images have {len(self.accepted)} labels")

    @classmethod
    def of_classes(cls, images: NDArray[np.uint8], labels: Sequence[int], num_classes: int) -> "EncodedSet":
        """A set with one label an image, among all classes of the model."""
        return cls(images, tuple((int(label),) for label in labels), LabelSpace.of_classes(num_classes))

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, Any]) -> "EncodedSet":
        """The inverse of ``arrays``; nothing is copied."""
        space = LabelSpace(arrays["columns"], arrays["num_classes"])
        return cls(arrays["images"], arrays["accepted"], space)

    def arrays(self) -> dict[str, Any]:
        """Everything as NumPy arrays and plain values, for an object store that shares arrays without copying."""
        return {
            "images": self.images,
            "accepted": self.accepted,
            "columns": self.space.columns,
            "num_classes": self.space.num_classes,
        }

    def __len__(self) -> int:
        return len(self.images)

    @property
    def labels(self) -> tuple[tuple[int, ...], ...]:
        """``accepted``. Raises ValueError when the set has no labels."""
        if self.accepted is None:
            raise ValueError("this set has no labels: label its images, or leave it out")
        return self.accepted

    @property
    def nbytes(self) -> int:
        """Bytes of the images."""
        return self.images.nbytes
