"""Images that fit into memory, with their labels."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class LabelledImages:
    """``images`` uint8 (N, C, H, W) and ``labels`` int64 (N,), the class of each.

    Raises ValueError if shapes or dtypes are others.
    """

    images: NDArray[np.uint8]
    labels: NDArray[np.int64]

    def __post_init__(self) -> None:
        if self.images.ndim != 4 or self.images.dtype != np.uint8:
            raise ValueError(f"images must be uint8 (N, C, H, W), not {self.images.dtype} {self.images.shape}")
        if self.labels.shape != self.images.shape[:1] or self.labels.dtype != np.int64:
            raise ValueError(f"labels must be int64 ({len(self.images)},), not {self.labels.dtype} {self.labels.shape}")

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int | None) -> LabelledImages:
        """The first ``count`` images, or all of them for None."""
        return LabelledImages(self.images[:count], self.labels[:count])

    def after(self, count: int) -> LabelledImages:
        """All images but the first ``count``."""
        return LabelledImages(self.images[count:], self.labels[count:])

    def digest(self) -> str:
        """The sha256 of shape, pixels and labels, in hexadecimal."""
        content = hashlib.sha256(repr(self.images.shape).encode())
        content.update(np.ascontiguousarray(self.images).data)
        content.update(np.ascontiguousarray(self.labels).data)
        return content.hexdigest()
