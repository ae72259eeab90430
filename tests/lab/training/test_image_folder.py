from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lab.training.image_folder import FolderBatches, ImageFolder
from lab.training.recipe import TrainingRecipe
from lab.training.shard import Shard
from tests.lab.training.folders import WNIDS, colour_model, folder_data, image_folder, write_image_folder
from tests.lab.training.recipes import training
from workers.evaluation.preprocess import DataConfig, encode_images


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_image_folder(tmp_path_factory.mktemp("imagenet"))


def recipe(**augmentation: object) -> TrainingRecipe:
    return training(batch_size=8, augmentation=augmentation)


def batches(folder: Path, workers: int = 0, **augmentation: object) -> FolderBatches:
    chosen = augmentation or {"crop_scale": [0.5, 1.0], "flip": True, "auto_augment": "rand-m7-mstd0.5"}
    return image_folder(folder, workers=workers).batches(recipe(**chosen))


def batch(source: FolderBatches, step: int) -> tuple[torch.Tensor, torch.Tensor]:
    return source.batch(step, torch.Generator())


def test_labels_are_ranks_of_the_wordnet_ids(folder: Path) -> None:
    images, labels = batch(batches(folder), 0)
    assert images.shape == (8, 3, 32, 32)
    assert images.dtype == torch.uint8
    brightness = images.float().mean((1, 2, 3))
    assert set(labels.tolist()) <= set(range(len(WNIDS)))
    assert brightness[labels == labels.max()].mean() > brightness[labels == labels.min()].mean()


def test_shares_make_up_the_batch(folder: Path) -> None:
    chosen = recipe(crop_scale=[0.5, 1.0], flip=True)
    whole = batch(image_folder(folder).batches(chosen), 1)
    shares = [batch(image_folder(folder).batches(chosen, Shard(rank, 2)), 1) for rank in range(2)]
    for part in range(2):
        assert torch.equal(torch.cat([share[part] for share in shares]), whole[part])


def test_an_epoch_shows_each_image_once_and_epochs_differ(folder: Path) -> None:
    source = batches(folder)
    orders = [[place[0] for step in steps for place in source.order.places(step)] for steps in (range(3), range(3, 6))]
    assert len(source) == 3
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(24))
    assert orders[0] != orders[1]


@pytest.mark.parametrize("workers", [0, 2])
def test_a_batch_depends_on_its_step_alone(folder: Path, workers: int) -> None:
    straight = batches(folder)
    expected = [batch(straight, step) for step in range(5)]
    resumed = batches(folder, workers)
    for step in (3, 4):
        assert all(torch.equal(a, b) for a, b in zip(batch(resumed, step), expected[step], strict=True))
    assert not torch.equal(expected[0][0], expected[3][0])


def test_reading_leaves_the_random_states_of_the_training(folder: Path) -> None:
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()  # type: ignore[index]
    batch(batches(folder), 1)
    assert torch.equal(torch.get_rng_state(), before[0])
    assert random.getstate() == before[1]
    assert np.random.get_state()[1].tolist() == before[2]  # type: ignore[index]


def test_without_augmentation_the_middle_square_is_resized(folder: Path) -> None:
    first, second = (batch(batches(folder, crop_scale=None), 0)[0] for _ in range(2))
    assert torch.equal(first, second)
    jittered = batch(batches(folder, color_jitter=0.4), 0)[0]
    assert not torch.equal(first, jittered)


def test_test_images_are_those_of_the_evaluation(folder: Path) -> None:
    source = image_folder(folder, crop_pct=0.875)
    images, labels = source.evaluation_images("test", 10)
    everything, everywhere = source.evaluation_images("test", 1000)
    config = DataConfig((3, 32, 32), colour_model().mean, colour_model().std, "bicubic", 0.875, "center")
    assert len(images) == 10
    with pytest.raises(ValueError, match="no validation images"):
        source.evaluation_images("validation", 10)
    assert len(set(labels.tolist())) > 1
    assert everywhere.tolist() == sorted(everywhere.tolist())
    first = next(iter(sorted((folder / "val" / WNIDS[0]).iterdir())))
    from PIL import Image

    assert torch.equal(everything[0], torch.from_numpy(encode_images([Image.open(first)], config))[0].float() / 255)


def test_a_part_of_the_images_is_drawn_from_all_classes(folder: Path) -> None:
    source = image_folder(folder, max_images=12)
    drawn = source.batches(recipe()).order.places(0)
    assert len(source) == 12
    assert len({place[0] // 6 for place in drawn}) > 1
    assert source.digest() != image_folder(folder).digest()


@pytest.mark.parametrize("change", [{"crop_pct": 0.875}, {"interpolation": "bilinear"}, {"image_size": 28}])
def test_the_digest_holds_what_the_ingredients_configuration_says(folder: Path, change: dict[str, Any]) -> None:
    assert image_folder(folder, **change).digest() != image_folder(folder).digest()
    assert image_folder(folder, workers=2).digest() == image_folder(folder).digest()


def test_grey_models_get_grey_images(folder: Path) -> None:
    model = colour_model(mean=[0.5], std=[0.25])
    source = ImageFolder(folder_data(folder), model)
    assert batch(source.batches(recipe()), 0)[0].shape == (8, 1, 32, 32)
    assert source.evaluation_images("test", 2)[0].shape == (2, 1, 32, 32)


def test_what_does_not_fit_is_refused(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="is not a folder"):
        image_folder(tmp_path)
    with pytest.raises(ValueError, match=r"does not name a class in model\.label_names"):
        ImageFolder(folder_data(folder), colour_model(label_names=WNIDS[:3]))
    with pytest.raises(ValueError, match="grey or colour"):
        ImageFolder(folder_data(folder), colour_model(mean=[0.5, 0.5], std=[0.2, 0.2]))
    with pytest.raises(ValueError, match="lower batch_size"):
        image_folder(folder).batches(training(batch_size=32, augmentation={}))
