"""Adaptation sets and held-out sets of one data set under several shifts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from lab.data.archives import encode_png, write_archive
from lab.data.corruptions import TableName, corrupt
from lab.data.draws import disjoint_draws
from lab.data.labelled_images import LabelledImages

Shift = tuple[str, int, TableName]
"""Name of a corruption, its severity and its table."""

SHIFTS: Mapping[str, Shift] = {
    "low-contrast": ("low_contrast", 3, "imagenet"),
    "gaussian-noise": ("gaussian_noise", 5, "imagenet"),
    "rotation": ("rotation", 3, "imagenet"),
    "salt-and-pepper": ("salt_and_pepper", 5, "imagenet"),
}
"""The shifts of the shipped sets; no ingredient of the shipped pantries was trained on any of them."""


def write_shifted_sets(
    data: LabelledImages,
    class_names: Sequence[str],
    out: Path,
    *,
    prefix: str = "fashion",
    adaptation_count: int = 100,
    held_out_count: int = 600,
    seed: int = 0,
) -> list[Path]:
    """Write ``<prefix>-<shift>/adaptation.zip`` and ``held_out.zip`` under ``out`` for each of `SHIFTS`.

    ``class_names`` are the folders of the labels 0, 1, ...; an image's file is named by its index in ``data``. Each
    file holds the same number of images of every class. All shifts are made from the same two disjoint draws, so no
    held-out image is in any adaptation set. The same arguments give the same bytes. Returns the paths.

    Raises ValueError if a count is not a multiple of the number of classes or a class has too few images.
    """
    draws = disjoint_draws(data.labels, (adaptation_count, held_out_count), seed, classes=len(class_names))
    written = []
    for shift in SHIFTS:
        for name, chosen in zip(("adaptation", "held_out"), draws, strict=True):
            path = out / f"{prefix}-{shift}" / f"{name}.zip"
            members = {
                f"{class_names[data.labels[index]]}/{index:05d}.png": encode_png(
                    shifted_image(data, index, shift, seed)
                )
                for index in chosen.tolist()
            }
            write_archive(path, members)
            written.append(path)
    return written


def shifted_image(data: LabelledImages, index: int, shift: str, seed: int) -> NDArray[np.uint8]:
    """Image ``index`` of ``data`` under one of `SHIFTS`, uint8 (H, W, C); the same image for the same arguments."""
    name, severity, table = SHIFTS[shift]
    pixels = np.ascontiguousarray(data.images[index].transpose(1, 2, 0))
    return corrupt(pixels, name, severity, _generator(seed, shift, index), table)


def _generator(seed: int, shift: str, index: int) -> Generator:
    return np.random.default_rng([seed, index, *shift.encode()])
