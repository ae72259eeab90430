"""Images of one distribution and how a model's logits are scored on them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from lab.data.labelled_images import LabelledImages

Columns = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class ImageSet:
    """Images, the columns that a prediction chooses among, and the columns that are right for each image.

    ``images``: paths of image files, or one uint8 array (N, H, W) or (N, H, W, C). ``columns``: for each column the
    model's class indices. A column's score is the mean of the softmax over them; the prediction is the column with the
    highest score. Plain classification has one column per class. ``column_names``: a name for each column.
    ``accepted``: for each image the columns that count as right. ``precropped``: the images already have the size that
    the model's crop would leave, so they only get a centre crop, and no resizing, before the model.

    Raises ValueError if the numbers do not fit together, or if an image accepts no column or one that does not exist.
    """

    images: tuple[Path, ...] | NDArray[np.uint8]
    columns: Columns
    column_names: tuple[str, ...]
    accepted: tuple[tuple[int, ...], ...]
    precropped: bool = False

    def __post_init__(self) -> None:
        if len(self.images) != len(self.accepted):
            raise ValueError(f"{len(self.images)} images have {len(self.accepted)} labels")
        if len(self.columns) != len(self.column_names) or not all(self.columns):
            raise ValueError("each column needs a name and at least one class of the model")
        for index, accepted in enumerate(self.accepted):
            if not accepted or not all(0 <= column < len(self.columns) for column in accepted):
                raise ValueError(f"image {index} accepts the columns {accepted} of {len(self.columns)}")

    @classmethod
    def of_classes(cls, data: LabelledImages, class_names: Sequence[str]) -> ImageSet:
        """Images in memory with one label each, scored among all of ``class_names``."""
        pixels = np.ascontiguousarray(data.images.transpose(0, 2, 3, 1))
        columns = tuple((index,) for index in range(len(class_names)))
        return cls(pixels, columns, tuple(class_names), tuple((label,) for label in data.labels.tolist()))

    def __len__(self) -> int:
        return len(self.accepted)

    def __iter__(self) -> Iterator[tuple[Image.Image, tuple[int, ...]]]:
        """Each image, as PIL reads it, with its accepted columns."""
        for index, accepted in enumerate(self.accepted):
            yield self.picture(index), accepted

    def picture(self, index: int) -> Image.Image:
        """Image ``index`` as PIL reads it. Raises OSError, naming the file, if it cannot be decoded."""
        if isinstance(self.images, tuple):
            return _read(self.images[index])
        pixels = self.images[index]
        return Image.fromarray(pixels[..., 0] if pixels.ndim == 3 and pixels.shape[2] == 1 else pixels)

    def subset(self, indices: Sequence[int]) -> ImageSet:
        """The images at ``indices``, in that order, scored in the same way."""
        accepted = tuple(self.accepted[index] for index in indices)
        if isinstance(self.images, tuple):
            paths = tuple(self.images[index] for index in indices)
            return ImageSet(paths, self.columns, self.column_names, accepted, self.precropped)
        pixels = self.images[np.asarray(indices, dtype=np.intp)]
        return ImageSet(pixels, self.columns, self.column_names, accepted, self.precropped)


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture
    except OSError as error:
        if error.errno:  # of the disk, not of the decoder
            raise
        raise OSError(f"the image {path} cannot be decoded ({error}): copy it again, or leave it out") from error
