"""Batches that have their share of every class."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.workers.evaluation.images import CLASSES, random_images
from workers.evaluation.batches import ResidentImages
from workers.evaluation.preprocess import DataConfig
from workers.evaluation.sets import EncodedSet

CONFIG = DataConfig((1, 28, 28), (0.0,), (1.0,), "bicubic", 1.0, "center")


def numbered(size: int, labels: list[int]) -> EncodedSet:
    """A set whose images tell their labels."""
    images = random_images(size)
    images[:, 0, 0, 0] = labels
    return EncodedSet.of_classes(images, labels, CLASSES)


def mixed(sets: list[EncodedSet], batch_size: int) -> list[torch.Tensor]:
    images = ResidentImages(sets, CONFIG, torch.device("cpu"), num_classes=CLASSES, batch_size=7)
    return list(images.mixed(batch_size))


def told(batch: torch.Tensor) -> list[int]:
    return (batch[:, 0, 0, 0] * 255).round().int().tolist()


@pytest.mark.parametrize("interleaved", [False, True])
def test_every_batch_has_its_share_of_every_class(interleaved: bool) -> None:
    labels = [place % CLASSES if interleaved else place // 8 for place in range(40)]
    batches = mixed([numbered(40, labels), numbered(20, labels[:20])], 13)
    assert [len(batch) for batch in batches] == [12] * 5
    shares = np.stack([np.bincount(told(batch), minlength=CLASSES) for batch in batches])
    assert (shares.max(axis=0) - shares.min(axis=0) <= 2).all()


def test_images_without_labels_go_by_their_place() -> None:
    bare = replace(numbered(30, [place % CLASSES for place in range(30)]), accepted=None)
    assert [told(batch) for batch in mixed([bare], 6)] == [[fold] * 6 for fold in range(5)]
    assert [len(batch) for batch in mixed([bare, numbered(13, [0] * 13)], 15)] == [15, 14, 14]
