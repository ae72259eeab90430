"""Reads npz files: arrays of images and labels, without pickle."""

import hashlib
import io
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from service.adaptation_sets.contents import Contents
from service.adaptation_sets.images import LONGEST
from service.archives.guarded import GuardedFile
from service.archives.members import Kind, Limits, Member
from service.archives.reader import Format, read_members, sniff
from service.errors import InvalidSet, TooLarge, is_of_machine
from service.settings import Settings

ARRAY_FILE = "images.npy"
_IMAGES = "images.npy"
_OPTIONAL = frozenset({"labels.npy", "precropped.npy"})
_BLOCK_BYTES = 2**24
_HEADER_BYTES = 2**16
_MOST_LABELS = 256
_LARGEST_LABEL = 10**9 - 1


def is_npz(staged: Path, limits: Limits) -> bool:
    """Whether the file at ``staged`` is a zip of arrays. Raises the errors of read_members."""
    if sniff(staged, InvalidSet, known="zip, tar, tar.gz and npz") is not Format.ZIP:
        return False
    paths = [member.path for member in read_members(staged, limits, InvalidSet)]
    return bool(paths) and all(path.endswith(".npy") and "/" not in path for path in paths)


def read_npz(staged: Path, settings: Settings, limits: Limits, folder: Path) -> Contents:
    """The arrays of the npz at ``staged``; its images go to ``folder / ARRAY_FILE``.

    ``images`` is uint8 of shape (N, H, W) or (N, H, W, C). ``labels`` are integers of shape (N,), or (N, K) with -1
    where an image has fewer than K accepted classes, or one-hot rows (N, K) of 0 and 1, of any numeric type. An image
    whose integers are all -1 has no label; without ``labels``, none has. ``precropped``, which is optional too, is one
    boolean.
    Raises InvalidSet or TooLarge with a stable code; MemoryError, and OSError when the disk fails.
    """
    unpacked = folder / "unpacked"
    unpacked.mkdir()
    members = {member.path for member in _extract(staged, limits, unpacked)}
    names = sorted(path.removesuffix(".npy") for path in members)
    if not {_IMAGES} <= members <= {_IMAGES} | _OPTIONAL:
        raise InvalidSet(
            f"the npz holds the arrays {', '.join(names)}: it must hold images, and beside them labels, unless no "
            "image has one, and at most precropped",
            code="npz_arrays",
        )
    images = _check_images(_mapped(unpacked / _IMAGES), settings)
    labels: tuple[tuple[int, ...], ...] = ((),) * len(images)
    if "labels.npy" in members:
        labels = _check_labels(_mapped(unpacked / "labels.npy"), len(images))
    precropped = "precropped.npy" in members and _check_flag(_mapped(unpacked / "precropped.npy"))
    digest = _copy(images, folder / ARRAY_FILE)
    shape = tuple(int(side) for side in images.shape)
    for path in unpacked.iterdir():
        path.unlink()
    unpacked.rmdir()
    return Contents(labels, None, (), (digest,), shape, precropped)


def _extract(staged: Path, limits: Limits, folder: Path) -> Iterator[Member]:
    for member in read_members(staged, limits, InvalidSet):
        if member.kind is Kind.FILE and member.path in {_IMAGES} | _OPTIONAL:
            with (folder / member.path).open("wb") as file:
                file.writelines(member.chunks())
        yield member


def _mapped(path: Path) -> NDArray[Any]:
    name = path.stem
    shape, dtype = _header(path)
    try:
        if dtype.hasobject:
            raise InvalidSet(f"the array {name!r} holds Python objects: save it as integers", code="npz_object")
        if math.prod(shape) == 0:
            raise InvalidSet(f"the array {name!r} is empty, of shape {shape}: add images", code="no_images")
        array: NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except InvalidSet:
        raise
    except Exception as error:
        if is_of_machine(error):
            raise
        raise _damaged(path, error) from error
    return array


def _header(path: Path) -> tuple[tuple[int, ...], np.dtype[Any]]:
    """Shape and type. For deep nesting Python's parser raises MemoryError, but the file is at fault."""
    try:
        with GuardedFile(io.FileIO(path), _HEADER_BYTES) as file:
            version = npy.read_magic(file)
            read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
            shape, _, dtype = read(file)
    except Exception as error:
        if isinstance(error, OSError) and is_of_machine(error):
            raise
        raise _damaged(path, error) from error
    return shape, dtype


def _damaged(path: Path, error: Exception) -> InvalidSet:
    reason = str(error) or type(error).__name__
    return InvalidSet(f"the array {path.stem!r} is damaged ({reason}): write the npz again", code="damaged_archive")


def _blocks(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    rows = max(1, _BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), rows):
        yield array[start : start + rows]


def _check_type(array: NDArray[Any], name: str, wanted: str) -> None:
    if array.dtype.kind in "fc" and not all(bool(np.isfinite(block).all()) for block in _blocks(array)):
        raise InvalidSet(f"the array {name!r} has NaN or infinite values: remove them", code="npz_not_finite")
    raise InvalidSet(f"the array {name!r} is of type {array.dtype}: save it as {wanted}", code="npz_dtype")


def _check_images(images: NDArray[Any], settings: Settings) -> NDArray[np.uint8]:
    if images.dtype != np.uint8:
        _check_type(images, "images", "uint8, 0 to 255")
    if images.ndim not in {3, 4}:
        raise InvalidSet(
            f"the array 'images' has shape {images.shape}: make it (N, H, W) or (N, H, W, C)", code="npz_shape"
        )
    if images.ndim == 4 and images.shape[1] in {1, 3} and images.shape[3] not in {1, 3, 4}:
        raise InvalidSet(
            f"the array 'images' has shape {images.shape}, channels first: move them last, (N, H, W, C)",
            code="npz_shape",
        )
    if len(images) > settings.max_images:
        raise TooLarge(f"the set has more than {settings.max_images} images: send fewer", code="too_many_images")
    if images.shape[1] * images.shape[2] > settings.max_image_pixels:
        raise TooLarge(
            f"the images have more than {settings.max_image_pixels} pixels: scale them down", code="image_too_large"
        )
    if max(images.shape[1:3]) > LONGEST * min(images.shape[1:3]):
        raise TooLarge(
            f"the images have one side more than {LONGEST} times as long as the other: crop them",
            code="image_too_large",
        )
    return images


def _check_labels(labels: NDArray[Any], images: int) -> tuple[tuple[int, ...], ...]:
    fits = labels.ndim in {1, 2} and len(labels) == images
    if fits and _is_zeros_and_ones(labels):
        return _one_hot(labels)
    if labels.dtype.kind not in "iu":
        wanted = "integers or one-hot rows of 0 and 1; of soft labels or scores take labels.argmax(axis=1)"
        _check_type(labels, "labels", wanted)
    columns = labels.reshape(len(labels), -1) if fits else labels
    if not fits or columns.shape[1] > _MOST_LABELS:
        raise InvalidSet(
            f"the array 'labels' has shape {labels.shape}: make it ({images},), "
            f"or ({images}, K) with K up to {_MOST_LABELS}, or one-hot rows",
            code="npz_shape",
        )
    if columns.shape[1] > 1 and bool((np.abs(columns) == 1).all()):
        raise InvalidSet("the labels are only -1 and 1: if they are one-hot rows, write 0 for -1", code="npz_labels")
    return tuple(_accepted(index, [int(label) for label in row]) for index, row in enumerate(columns))


def _is_zeros_and_ones(labels: NDArray[Any]) -> bool:
    """Whether ``labels`` are rows that mark classes: as lists of class indices, such rows would make no sense."""
    if labels.ndim != 2 or labels.shape[1] == 1 or labels.dtype.kind not in "biuf":
        return False
    return all(bool(((block == 0) | (block == 1)).all()) for block in _blocks(labels))


def _one_hot(labels: NDArray[Any]) -> tuple[tuple[int, ...], ...]:
    accepted: list[tuple[int, ...]] = []
    for block in _blocks(labels):
        marked = np.count_nonzero(block, axis=1)
        if (wrong := np.flatnonzero(marked != 1)).size:
            raise InvalidSet(
                f"the one-hot labels of image {len(accepted) + wrong[0]} have {marked[wrong[0]]} ones: mark one class, "
                "or, where an image has several accepted classes, give their indices, padded with -1",
                code="npz_labels",
            )
        accepted.extend((int(index),) for index in block.argmax(axis=1))
    return tuple(accepted)


def _accepted(index: int, row: list[int]) -> tuple[int, ...]:
    classes = sorted(label for label in row if label != -1)
    if classes and (classes[0] < 0 or classes[-1] > _LARGEST_LABEL):
        raise InvalidSet(
            f"the labels of image {index} are {row}: give it one class index or more, padded with -1, or -1 alone if "
            "it has no label",
            code="npz_labels",
        )
    if len(set(classes)) < len(classes):
        raise InvalidSet(
            f"the labels of image {index} are {row}, which names a class twice: give each accepted class once, "
            "padded with -1, or one-hot rows of 0 and 1",
            code="npz_labels",
        )
    return tuple(classes)


def _check_flag(flag: NDArray[Any]) -> bool:
    if flag.dtype != np.bool_ or flag.shape != ():
        raise InvalidSet(
            f"the array 'precropped' is of type {flag.dtype} and shape {flag.shape}: save it as one boolean, "
            "True or False",
            code="npz_dtype" if flag.shape == () else "npz_shape",
        )
    return bool(flag)


def _copy(images: NDArray[np.uint8], target: Path) -> str:
    hasher = hashlib.sha256()
    with target.open("wb") as file:
        header = {"descr": npy.dtype_to_descr(images.dtype), "fortran_order": False, "shape": images.shape}
        npy.write_array_header_1_0(file, header)
        for block in _blocks(images):
            data = np.ascontiguousarray(block).tobytes()
            hasher.update(data)
            file.write(data)
    return hasher.hexdigest()
