from __future__ import annotations

import pytest
import torch

from lab.training.batches import Batches, seeded_generator
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
