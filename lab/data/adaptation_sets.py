"""Adaptation sets, in the form that users upload, drawn from larger labelled sets."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lab.data.archives import encode_png, write_archive
from lab.data.corruptions import TableName, corrupt_batch
from lab.data.draws import balanced_draw
from lab.data.labelled_images import LabelledImages
from lab.data.layouts.image_set import ImageSet

LABEL_MAP = "label_map.json"
LABELS = "labels.json"
PREPROCESSING = "preprocessing.json"


def write_adaptation_set(images: ImageSet, out: Path, count: int, seed: int) -> list[int]:
    """Draw a class-balanced adaptation set of ``count`` images and write it to ``out``, a zip of class folders.

    A folder has the name of its column, a file the index of its image in ``images``. Image files keep their bytes;
    arrays become PNG. ``label_map.json`` says which classes of the model each column stands for, if its name alone does
    not. ``labels.json`` gives the classes of each image that has several. ``preprocessing.json`` says that the images
    are precropped, if they are. An image with several classes is drawn as one of the first. Returns the indices drawn,
    so that the others can be held out.

    Raises ValueError if there are fewer than ``count`` images, or a column's name cannot be a folder's name.
    """
    if unfit := [name for name in images.column_names if "/" in name or name in {"", ".", ".."}]:
        raise ValueError(f"the class name {unfit[0]!r} cannot be a folder's name: use column names without slashes")
    drawn = balanced_draw([accepted[0] for accepted in images.accepted], count, seed)
    paths = {index: _path(images, index) for index in drawn}
    members = {path: _content(images, index) for index, path in paths.items()}
    several = {paths[index]: images.accepted[index] for index in drawn if len(images.accepted[index]) > 1}
    if several:
        named = {path: [images.column_names[column] for column in columns] for path, columns in several.items()}
        members[LABELS] = _document(named)
    if any(columns != (_as_index(name),) for name, columns in zip(images.column_names, images.columns, strict=True)):
        members[LABEL_MAP] = _document(dict(zip(images.column_names, map(list, images.columns), strict=True)))
    if images.precropped:
        members[PREPROCESSING] = _document({"precropped": True})
    write_archive(out, members)
    return drawn


def corrupted_set(
    data: LabelledImages,
    class_names: Sequence[str],
    corruption: str,
    severity: int,
    *,
    seed: int,
    table: TableName = "cifar",
) -> ImageSet:
    """All of ``data`` under one corruption, scored among all of ``class_names``. The same seed gives the same images.

    Raises ValueError for an unknown corruption, severity or table, or images that are neither grey nor of three
    channels.
    """
    pixels = np.ascontiguousarray(data.images.transpose(0, 2, 3, 1))
    corrupted = np.stack(corrupt_batch(pixels, corruption, severity, np.random.default_rng(seed), table))
    return ImageSet.of_classes(LabelledImages(corrupted.transpose(0, 3, 1, 2), data.labels), class_names)


def _path(images: ImageSet, index: int) -> str:
    suffix = images.images[index].suffix.lower() if isinstance(images.images, tuple) else ".png"
    return f"{images.column_names[images.accepted[index][0]]}/{index:05d}{suffix}"


def _content(images: ImageSet, index: int) -> bytes:
    if isinstance(images.images, tuple):
        return images.images[index].read_bytes()
    return encode_png(images.images[index])


def _as_index(name: str) -> int | None:
    return int(name) if name.isdecimal() and str(int(name)) == name else None


def _document(value: object) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True) + "\n").encode()
