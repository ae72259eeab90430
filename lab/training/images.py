"""Training images, in memory or in files."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

import torch
from torch import Tensor

from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.data.layouts.cifar import load_cifar10
from lab.training.batches import Batches
from lab.training.image_folder import ImageFolder
from lab.training.recipe import DataRecipe, ModelRecipe, Split, TrainingRecipe
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

    def evaluation_images(self, split: Split, count: int) -> tuple[Tensor, Tensor]:
        """Images float32 in [0, 1] (N, C, H, W) and labels int64 (N,) that are not trained on, at most ``count``.

        Raises ValueError if there are none.
        """
        ...


class ImagesInMemory:
    """Images of one size that fit into memory: those trained on, and those of each split that are evaluated on."""

    def __init__(self, train: LabelledImages, evaluation: Mapping[Split, LabelledImages]) -> None:
        self._train = train
        self._evaluation = evaluation
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

    def evaluation_images(self, split: Split, count: int) -> tuple[Tensor, Tensor]:
        """The first ``count`` images of ``split``."""
        if split not in self._evaluation:
            raise ValueError(f"there are no {split} images to evaluate on")
        first = self._evaluation[split].first(count)
        return torch.from_numpy(first.images).float() / 255, torch.from_numpy(first.labels)


def open_images(data: DataRecipe, model: ModelRecipe) -> TrainingImages:
    """The images that ``data`` names, in the form ``model`` takes.

    Raises FileNotFoundError if files are missing, and ValueError if they are damaged, have classes that ``model`` does
    not name, or have another number of channels.
    """
    if data.format == "folder":
        return ImageFolder(data, model)
    load = load_idx_folder if data.format == "idx" else load_cifar10
    whole, test = load(data.folder, "train"), load(data.folder, "test")
    kept = len(whole) - data.validation_images
    if kept < 1:
        raise ValueError(
            f"data.validation_images is {data.validation_images}, of {len(whole)} training images: lower it"
        )
    train, held_out = whole.first(kept).first(data.max_images), whole.after(kept)
    channels, classes = train.images.shape[1], len(model.label_names)
    if channels != len(model.mean):
        raise ValueError(f"the images have {channels} channels, but model.mean has {len(model.mean)} numbers")
    if whole.labels.max() >= classes:
        raise ValueError(f"the images have the label {whole.labels.max()}, but model.label_names has {classes} names")
    return ImagesInMemory(train, {"test": test, "validation": held_out} if len(held_out) else {"test": test})
