"""Augmentations of a batch of images as one tensor operation each."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional

from lab.training.recipe import AugmentationRecipe


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
