from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional

from lab.training.batches import Batches, augment, random_crop, random_flip, seeded_generator
from lab.training.recipe import AugmentationRecipe
from lab.training.shard import Shard
from tests.lab.training.recipes import noise_images

PLAIN = AugmentationRecipe()


def test_an_epoch_shows_each_image_once() -> None:
    data = noise_images(12)
    batches = Batches(data, 4, 0, PLAIN)
    seen = torch.cat([batches.batch(step, torch.Generator())[0] for step in range(len(batches))])
    expected = torch.from_numpy(data.images).float() / 255
    assert len(batches) == 3
    assert torch.equal(seen.flatten(1).sort(0).values, expected.flatten(1).sort(0).values)


def test_epochs_and_seeds_differ_in_order() -> None:
    batches = Batches(noise_images(12), 4, 0, PLAIN)
    other = Batches(noise_images(12), 4, 1, PLAIN)
    first = batches.batch(0, torch.Generator())[0]
    assert not torch.equal(first, batches.batch(3, torch.Generator())[0])
    assert not torch.equal(first, other.batch(0, torch.Generator())[0])


def test_a_batch_does_not_depend_on_those_before_it() -> None:
    recipe = AugmentationRecipe(crop_padding=1, flip=True)
    fresh, used = (Batches(noise_images(12), 4, 0, recipe) for _ in range(2))
    for step in range(5):
        used.batch(step, seeded_generator(0, step, stream=1))
    expected = fresh.batch(5, seeded_generator(0, 5, stream=1))
    images, labels = used.batch(5, seeded_generator(0, 5, stream=1))
    assert torch.equal(images, expected[0])
    assert torch.equal(labels, expected[1])


@pytest.mark.parametrize("count", [2, 3, 6])
def test_shares_make_up_the_batch(count: int) -> None:
    recipe = AugmentationRecipe(crop_padding=1, flip=True)
    data = noise_images(12)
    whole = Batches(data, 6, 0, recipe).batch(1, seeded_generator(0, 1, stream=1))
    shards = [Batches(data, 6, 0, recipe, Shard(rank, count)) for rank in range(count)]
    shares = [shard.batch(1, seeded_generator(0, 1, stream=1)) for shard in shards]
    for part in range(2):
        assert torch.equal(torch.cat([share[part] for share in shares]), whole[part])


def test_fewer_images_than_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="lower batch_size"):
        Batches(noise_images(3), 4, 0, PLAIN)


def test_generators_differ_by_seed_stream_and_index() -> None:
    uses = [(seed, index, stream) for seed in range(3) for index in range(3) for stream in range(3)]
    drawn = {float(torch.rand(1, generator=seeded_generator(*use), dtype=torch.float64)) for use in uses}
    assert len(drawn) == len(uses)


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
