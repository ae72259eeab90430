from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from lab.training.augmentation import augment, random_crop, random_flip
from lab.training.recipe import AugmentationRecipe


def images(count: int = 5) -> torch.Tensor:
    return torch.rand(count, 2, 6, 7, generator=torch.Generator().manual_seed(0))


@settings(deadline=None, max_examples=30)
@given(padding=st.integers(1, 3), seed=st.integers(0, 2**32))
def test_a_crop_is_a_window_of_the_padded_image(padding: int, seed: int) -> None:
    original = images()
    cropped = random_crop(original, padding, torch.Generator().manual_seed(seed))
    windows = functional.pad(original, (padding,) * 4).unfold(2, 6, 1).unfold(3, 7, 1)
    same = (windows.movedim((2, 3), (1, 2)) == cropped[:, None, None]).flatten(3).all(3)
    assert cropped.shape == original.shape
    assert same.flatten(1).any(1).all()


def test_crops_reach_every_offset() -> None:
    white = torch.ones(400, 1, 3, 3)
    cropped = random_crop(white, 1, torch.Generator().manual_seed(1))
    assert len({tuple(image.flatten().tolist()) for image in cropped}) == 9


def test_flips_mirror_about_half_of_the_images() -> None:
    original = images(400)
    flipped = random_flip(original, torch.Generator().manual_seed(0))
    mirrored = (flipped == original.flip(3)).flatten(1).all(1)
    kept = (flipped == original).flatten(1).all(1)
    assert (mirrored ^ kept).all()
    assert 150 < mirrored.sum() < 250


def test_without_augmentation_images_stay() -> None:
    assert torch.equal(augment(images(), AugmentationRecipe(), torch.Generator()), images())


def test_equal_generators_augment_alike() -> None:
    recipe = AugmentationRecipe(crop_padding=2, flip=True)
    first, second = (augment(images(), recipe, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    assert not torch.equal(first, images())
