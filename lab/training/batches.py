"""Training batches, augmented, in a random order that depends on nothing but the seed."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from lab.data.labelled_images import LabelledImages
from lab.training.recipe import AugmentationRecipe
from lab.training.shard import WHOLE, Shard


class Batches:
    """The shuffled, augmented batches of a set in memory.

    A batch is a function of (seed, step) alone. Training resumed at any step therefore sees the same batches, and the
    shares of a batch make up the same batch, however many there are.

    Raises ValueError if the set is smaller than one batch, if a batch does not divide into equal shares, or if the
    padding of crops is as large as an image: some crops would then show nothing of it.
    """

    def __init__(
        self,
        data: LabelledImages,
        batch_size: int,
        seed: int,
        augmentation: AugmentationRecipe,
        shard: Shard = WHOLE,
    ) -> None:
        if len(data) < batch_size:
            raise ValueError(f"{len(data)} images are fewer than one batch of {batch_size}: lower batch_size")
        size = min(data.images.shape[2:])
        if augmentation.crop_padding >= size:
            raise ValueError(
                f"augmentation.crop_padding is {augmentation.crop_padding} and the images have {size} pixels per side: "
                "lower it, to 4 for instance"
            )
        self._images = torch.from_numpy(np.ascontiguousarray(data.images))
        self._labels = torch.from_numpy(data.labels)
        self._batch_size = batch_size
        self._seed = seed
        self._augmentation = augmentation
        self._share = shard.rows(batch_size)

    def __len__(self) -> int:
        """Batches per epoch. Images that do not fill a batch are left to another epoch."""
        return len(self._labels) // self._batch_size

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Images float32 in [0, 1] (B, C, H, W) and labels int64 (B,) of step ``step``, augmented by ``generator``.

        B is the size of the share.
        """
        epoch, position = divmod(step, len(self))
        rows = permutation(len(self._labels), self._seed, epoch)[position * self._batch_size :][: self._batch_size]
        images = self._images[rows].float() / 255
        return augment(images, self._augmentation, generator)[self._share], self._labels[rows][self._share]


@lru_cache(maxsize=2)
def permutation(count: int, seed: int, epoch: int) -> Tensor:
    """The order (count,) of the images in an epoch."""
    return torch.randperm(count, generator=seeded_generator(seed, epoch, stream=0))


def seeded_generator(seed: int, index: int, stream: int) -> torch.Generator:
    """A generator on the CPU for a single use: ``stream`` separates the uses of a seed, ``index`` their turns."""
    state = np.random.SeedSequence((seed, stream, index)).generate_state(1, np.uint64)[0]
    return torch.Generator().manual_seed(int(state) % 2**63)


def augment(images: Tensor, recipe: AugmentationRecipe, generator: torch.Generator) -> Tensor:
    """Random crops and flips of ``images`` (N, C, H, W), separate for each image; ``generator`` is on their device."""
    if recipe.crop_padding:
        images = random_crop(images, recipe.crop_padding, generator)
    if recipe.flip:
        images = random_flip(images, generator)
    return images


def random_crop(images: Tensor, padding: int, generator: torch.Generator) -> Tensor:
    """Each image (C, H, W) padded with zeros on all sides and cropped to H x W at a random place."""
    count, _, height, width = images.shape
    padded = functional.pad(images, (padding,) * 4)
    corner = torch.randint(2 * padding + 1, (2, count, 1), generator=generator, device=images.device)
    rows = corner[0] + torch.arange(height, device=images.device)
    columns = corner[1] + torch.arange(width, device=images.device)
    index = torch.arange(count, device=images.device)
    cropped: Tensor = padded.movedim(1, 3)[index[:, None, None], rows[:, :, None], columns[:, None, :]]
    return cropped.movedim(3, 1).contiguous()


def random_flip(images: Tensor, generator: torch.Generator) -> Tensor:
    """Each image (C, H, W) mirrored left to right with probability one half."""
    flips = torch.rand(len(images), generator=generator, device=images.device) < 0.5
    return torch.where(flips[:, None, None, None], images.flip(3), images)
