"""Training images, wherever they lie."""

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
    """The batches of a run. A batch is a function of (seed, step) alone, whatever was asked for before."""

    def __len__(self) -> int:
        """Batches in an epoch."""
        ...

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """This process's share of batch ``step``: images (B, C, H, W), float32 in [0, 1] or uint8, labels int64 (B,).

        ``generator``, on the CPU, is for choices that are made for a batch as a whole.
        """
        ...


class TrainingImages(Protocol):
    """The images that a recipe's data section names."""

    @property
    def image_size(self) -> tuple[int, int]:
        """Height and width as the network sees them."""
        ...

    def __len__(self) -> int:
        """How many there are to train on."""
        ...

    def digest(self) -> str:
        """What identifies them, in hexadecimal."""
        ...

    def batches(self, recipe: TrainingRecipe, shard: Shard = WHOLE) -> BatchSource:
        """Their batches, or a share of each.

        Raises ValueError if there are fewer images than a batch takes, or a batch does not divide into equal shares.
        """
        ...

    def test_images(self, count: int) -> tuple[Tensor, Tensor]:
        """Test images float32 in [0, 1] (N, C, H, W) and labels int64 (N,), ``count`` or as many as there are."""
        ...


class ImagesInMemory:
    """Images of one size that fit into memory; without ``test`` images there is nothing to evaluate on."""

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
    """The images that ``data`` names, as ``model`` takes them.

    Raises FileNotFoundError if files are missing, ValueError if they are damaged, of classes that ``model`` does not
    name, or of another number of channels.
    """
    if data.format == "folder":
        return ImageFolder(data, model)
    load = load_idx_folder if data.format == "idx" else load_cifar10
    train, test = load(data.folder, "train").first(data.max_images), load(data.folder, "test")
    channels, classes = train.images.shape[1], len(model.label_names)
    if channels != len(model.mean):
        raise ValueError(f"the images have {channels} channels and model.mean has {len(model.mean)} numbers")
    if train.labels.max() >= classes:
        raise ValueError(f"the images have the label {train.labels.max()} and model.label_names has {classes} names")
    return ImagesInMemory(train, test)
