"""A set in the artifact store, opened for use."""

import json
import zipfile
from collections.abc import Iterator
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from service.adaptation_sets.archive import IMAGES_FILE
from service.adaptation_sets.arrays import ARRAY_FILE
from service.adaptation_sets.contents import Contents
from service.adaptation_sets.images import decode
from service.artifacts.store import Artifact
from service.errors import InvalidSet
from service.schemas.adaptation_set import AdaptationSet, LabelMap, ModelClass

CONTENTS_FILE = "contents.json"
DOCUMENT_FILE = "set.json"

_CONVERTED = frozenset({1, 3, 4})


class StoredSet:
    """The images and classes of one stored set, in an order that depends only on its contents."""

    def __init__(self, document: AdaptationSet, artifact: Artifact, max_pixels: int) -> None:
        self.document = document
        self._artifact = artifact
        self._max_pixels = max_pixels

    def __len__(self) -> int:
        return self.document.images

    @property
    def digest(self) -> str:
        """The set's id: sha256 of its contents."""
        return self.document.id

    @property
    def classes(self) -> tuple[str, ...]:
        """Classes of the set, integers by value, then names."""
        return tuple(self.document.classes)

    @property
    def label_map(self) -> LabelMap | None:
        """Class of the set to the model's; None if the classes are the model's own."""
        return self.document.label_map

    @property
    def precropped(self) -> bool:
        """Whether the images are already cropped as for the model, so that none of their border is cut off."""
        return self.document.precropped

    @cached_property
    def contents(self) -> Contents:
        """Classes, paths and digests of the images."""
        return Contents.from_document(json.loads((self._artifact.path / CONTENTS_FILE).read_text("utf-8")))

    @property
    def accepted(self) -> tuple[tuple[ModelClass, ...], ...]:
        """Accepted classes of each image: folder names (str), or the class indices of an npz (int); () without any."""
        return self.contents.accepted

    def check_channels(self, channels: int) -> None:
        """Raise InvalidSet (``channels_mismatch``) if a model with ``channels`` cannot take the images.

        Grey, colour and alpha are converted; a model with other channels needs arrays with exactly those channels.
        """
        shape = self.contents.shape
        has = shape[3] if len(shape) == 4 else 1
        fits = has in _CONVERTED if channels in _CONVERTED else len(shape) == 4 and has == channels
        if not fits:
            raise InvalidSet(
                f"the images do not have the {channels} channels of the pantry's models: send them as an npz of shape "
                f"(N, H, W, {channels})",
                param="adaptation_set",
                code="channels_mismatch",
            )

    def images(self) -> Iterator[Image.Image | NDArray[np.uint8]]:
        """The images in order: PIL images turned upright in the mode of their file, or arrays (H, W) or (H, W, C)."""
        if self.contents.shape:
            return iter(np.load(self._artifact.path / ARRAY_FILE, mmap_mode="r", allow_pickle=False))
        return self._decoded()

    def _decoded(self) -> Iterator[Image.Image]:
        with zipfile.ZipFile(self._artifact.path / IMAGES_FILE) as archive:
            for path, digest in zip(self.contents.paths, self.contents.digests, strict=True):
                with archive.open(digest) as stream:
                    yield decode(stream, path, self._max_pixels)
