"""Training images in class folders, read and augmented by timm's pipeline.

timm's own loader draws its order and augmentations from generators that are lost when a run is killed. Here the reader
and the transforms are timm's, but every image's random choices are seeded by its place in the training: a resumed run
sees what it would have seen, whatever the number of reading processes.
"""

from __future__ import annotations

import hashlib
import itertools
import random
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import timm.data
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from lab.data.layouts.folders import class_folders
from lab.training.batches import permutation
from lab.training.recipe import AugmentationRecipe, DataRecipe, ModelRecipe, Split, TrainingRecipe
from lab.training.shard import WHOLE, Shard
from workers.evaluation.preprocess import DataConfig, encode_images

_SUBSET_SEED = 0
_MODES = {1: "L", 3: "RGB"}

Place = tuple[int, int, int]
"""An image's index, the step it is for, and its place in that step's batch."""


class ImageFolder:
    """The image files that a recipe's data section of format ``folder`` names.

    A class's index is the place of its folder's name among the label names; a class may lack a folder. As in timm, a
    file that cannot be decoded is replaced by the next one, with a warning.

    Raises FileNotFoundError if there are no images, and ValueError for a folder that is not a class of the model or a
    model that does not have one or three channels.
    """

    def __init__(self, data: DataRecipe, model: ModelRecipe) -> None:
        if len(model.mean) not in _MODES or data.image_size is None:
            raise ValueError(
                "image files are grey or colour: model.mean needs one number or three, and data needs an image_size"
            )
        self._data = data
        self._model = model
        self.image_size = (data.image_size, data.image_size)
        self._train = self._dataset(data.train)
        self._test = self._dataset(data.test)
        self._indices = _subset(len(self._train), data.max_images)

    def __len__(self) -> int:
        return len(self._indices)

    def digest(self) -> str:
        """The sha256 of how images are read and of the training files' paths and sizes.

        The contents do not count, because reading them could take hours. ``crop_pct`` counts although training does not
        use it, because the ingredient's configuration stores it.
        """
        read = (self.image_size, self._data.interpolation, self._data.crop_pct)
        content = hashlib.sha256(repr(read).encode())
        root = self._data.folder / self._data.train
        for index in self._indices.tolist():
            path = Path(self._train.reader.samples[index][0])
            content.update(f"{path.relative_to(root)}\0{path.stat().st_size}\n".encode())
        return content.hexdigest()

    def batches(self, recipe: TrainingRecipe, shard: Shard = WHOLE) -> FolderBatches:
        """Shuffled batches, augmented by timm's transforms in ``workers`` processes."""
        self._train.transform = training_transform(self._data, self._model, recipe.augmentation)
        return FolderBatches(_Seeded(self._train, recipe.seed), self._indices, recipe, self._data.workers, shard)

    def evaluation_images(self, split: Split, count: int) -> tuple[Tensor, Tensor]:
        """Test images that a fixed seed draws, resized and cropped as the ingredient's configuration says."""
        if split != "test":
            raise ValueError(f"a folder of image files has no {split} images to evaluate on")
        chosen = _subset(len(self._test), count).tolist()
        samples = [self._test.reader.samples[index] for index in chosen]
        config = DataConfig(
            input_size=(len(self._model.mean), *self.image_size),
            mean=self._model.mean,
            std=self._model.std,
            interpolation=self._data.interpolation,
            crop_pct=self._data.crop_pct,
            crop_mode="center",
        )
        pixels = encode_images((Image.open(path) for path, _ in samples), config)
        return torch.from_numpy(pixels).float() / 255, torch.tensor([label for _, label in samples])

    def _dataset(self, split: str) -> Any:
        root, index_of = self._data.folder / split, {name: i for i, name in enumerate(self._model.label_names)}
        for folder in class_folders(root):
            if folder.name not in index_of:
                raise ValueError(
                    f"{folder} does not name a class in model.label_names: add the class or remove the folder"
                )
        mode = _MODES[len(self._model.mean)]
        return timm.data.create_dataset("", root=str(root), search_split=False, class_map=index_of, input_img_mode=mode)


def training_transform(data: DataRecipe, model: ModelRecipe, recipe: AugmentationRecipe) -> Any:
    """timm's transform of a PIL image to a uint8 tensor (C, H, W)."""
    whole = (1.0, 1.0)
    return timm.data.create_transform(
        input_size=(len(model.mean), data.image_size, data.image_size),
        is_training=True,
        scale=recipe.crop_scale or whole,
        ratio=recipe.crop_ratio if recipe.crop_scale else whole,
        hflip=0.5 if recipe.flip else 0.0,
        color_jitter=recipe.color_jitter or None,
        auto_augment=recipe.auto_augment,
        interpolation=data.interpolation,
        mean=model.mean,
        std=model.std,
        use_prefetcher=True,
    )


class FolderBatches:
    """The batches of an image folder. A loader reads ahead, and restarts when another step is requested."""

    def __init__(
        self, images: _Seeded, indices: Tensor, recipe: TrainingRecipe, workers: int, shard: Shard = WHOLE
    ) -> None:
        if len(indices) < recipe.batch_size:
            raise ValueError(f"{len(indices)} images are fewer than one batch of {recipe.batch_size}: lower batch_size")
        self.order = ImageOrder(indices, recipe.batch_size, recipe.seed, shard)
        self._images = images
        self._workers = workers
        self._next = -1
        self._loaded: Iterator[tuple[Tensor, Tensor]] = iter(())

    def __len__(self) -> int:
        return len(self.order)

    def batch(self, step: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:  # noqa: ARG002
        """Images uint8 (B, C, H, W) and labels int64 (B,) of step ``step``."""
        if step != self._next:
            self._loaded = iter(
                DataLoader(
                    self._images,
                    batch_sampler=_Steps(self.order, step),
                    num_workers=self._workers,
                    pin_memory=torch.cuda.is_available(),
                    generator=torch.Generator(),  # else each new loader draws from the training's own
                )
            )
        self._next = step + 1
        return next(self._loaded)


@dataclass(frozen=True)
class ImageOrder:
    """Which of the images at ``indices`` make up each batch, or a share of it."""

    indices: Tensor
    batch_size: int
    seed: int
    shard: Shard = WHOLE

    def __post_init__(self) -> None:
        """Raises ValueError if a batch does not divide into equal shares."""
        self.shard.rows(self.batch_size)

    def __len__(self) -> int:
        return len(self.indices) // self.batch_size

    def places(self, step: int) -> list[Place]:
        """The images of step ``step`` that are in the share."""
        epoch, position = divmod(step, len(self))
        order = permutation(len(self.indices), self.seed, epoch)
        rows = order[position * self.batch_size :][: self.batch_size]
        places = [(index, step, place) for place, index in enumerate(self.indices[rows].tolist())]
        return places[self.shard.rows(self.batch_size)]


class _Steps:
    """The batches from one step on, without end."""

    def __init__(self, order: ImageOrder, first: int) -> None:
        self._order = order
        self._first = first

    def __iter__(self) -> Iterator[list[Place]]:
        return (self._order.places(step) for step in itertools.count(self._first))


class _Seeded(Dataset[tuple[Tensor, int]]):
    """A timm dataset whose random choices depend only on the seed and the place."""

    def __init__(self, images: Any, seed: int) -> None:
        self._images = images
        self._seed = seed

    def __getitem__(self, place: Place) -> tuple[Tensor, int]:
        index, step, position = place
        with _seeded((self._seed, 2, step, position)):
            image, label = self._images[index]
        return torch.as_tensor(np.asarray(image, dtype=np.uint8)), label


@contextmanager
def _seeded(key: tuple[int, ...]) -> Iterator[None]:
    """Seed every global generator that transforms draw from, and restore their states afterwards."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    words = np.random.SeedSequence(key).generate_state(3)
    random.seed(int(words[0]))
    np.random.seed(int(words[1]))
    torch.default_generator.manual_seed(int(words[2]))
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def _subset(available: int, count: int | None) -> Tensor:
    """All indices, or ``count`` random ones in order: the first files would all belong to the first classes."""
    if count is None or count >= available:
        return torch.arange(available)
    drawn = torch.randperm(available, generator=torch.Generator().manual_seed(_SUBSET_SEED))
    return drawn[:count].sort().values
