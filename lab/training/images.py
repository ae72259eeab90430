"""Training images, in memory or in files."""

from __future__ import annotations

from typing import Protocol

import torch
from torch import Tensor

from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.data.layouts.cifar import load_cifar10
from lab.training.batches import Batches
from lab.training.image_folder import ImageFolder
from lab.training.recipe import DataRecipe, ModelRecipe, TrainingRecipe
from lab.training.shard import WHOLE, Shard


class BatchSource(Protocol):
    """The batches of a run. A batch is a function of (seed, step) alone, whatever was requested before."""

    def __len__(self) -> int:
        """Batches per epoch."""
        ...

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """This process's share of batch ``step``: images (B, C, H, W), float32 in [0, 1] or uint8, labels int64 (B,).

        ``generator``, on the CPU, is for choices made once per batch.
        """
        ...


class TrainingImages(Protocol):
    """The images that a recipe's data section names."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width as the network sees them."""
        ...

    def __len__(self) -> int:
        """The number of training images."""
        ...

    def digest(self) -> str:
        """A digest that identifies them, in hexadecimal."""
        ...

    def batches(self, recipe: TrainingRecipe, shard: Shard = WHOLE) -> BatchSource:
        """Their batches, or a share of each batch.

        Raises ValueError if there are fewer images than one batch, or a batch does not divide into equal shares.
        """
        ...

    def test_images(self, count: int) -> tuple[Tensor, Tensor]:
        """Test images float32 in [0, 1] (N, C, H, W) and labels int64 (N,), at most ``count``."""
        ...


class ImagesInMemory:
    """Images of one size that fit into memory. Without ``test`` images there is nothing to evaluate on."""

    def __init__(self, train: LabelledImages, test: LabelledImages | None = None) -> None:
        self._train = train
        self._test = test
        self._digest = train.digest()

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width."""
        height, width = self._train.images.shape[2:]
        return height, width

    def __len__(self) -> int:
        return len(self._train)

    def digest(self) -> str:
        """The sha256 of shape, pixels and labels."""
        return self._digest

    def batches(self, recipe: TrainingRecipe, shard: Shard = WHOLE) -> Batches:
        """Shuffled batches, augmented by tensor operations."""
        return Batches(self._train, recipe.batch_size, recipe.seed, recipe.augmentation, shard)

    def test_images(self, count: int) -> tuple[Tensor, Tensor]:
        """The first ``count`` test images."""
        if self._test is None:
            raise ValueError("there are no test images to evaluate on")
        first = self._test.first(count)
        return torch.from_numpy(first.images).float() / 255, torch.from_numpy(first.labels)


def open_images(data: DataRecipe, model: ModelRecipe) -> TrainingImages:
    """The images that ``data`` names, in the form ``model`` takes.

    Raises FileNotFoundError if files are missing, and ValueError if they are damaged, have classes that ``model`` does
    not name, or have another number of channels.
    """
    if data.format == "folder":
        return ImageFolder(data, model)
    load = load_idx_folder if data.format == "idx" else load_cifar10
    train, test = load(data.folder, "train").first(data.max_images), load(data.folder, "test")
    channels, classes = train.images.shape[1], len(model.label_names)
    if channels != len(model.mean):
        raise ValueError(f"the images have {channels} channels, but model.mean has {len(model.mean)} numbers")
    if train.labels.max() >= classes:
        raise ValueError(f"the images have the label {train.labels.max()}, but model.label_names has {classes} names")
    return ImagesInMemory(train, test)
