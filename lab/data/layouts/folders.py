"""Image files in class folders."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from lab.data.layouts.image_set import Columns, ImageSet

SUFFIXES = frozenset({".jpeg", ".jpg", ".png"})


def image_files(folder: Path) -> list[Path]:
    """The image files directly in ``folder``, by name, without hidden files. Raises FileNotFoundError."""
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the folder that holds the images")
    files = (path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and path.is_file())
    return sorted((path for path in files if not path.name.startswith(".")), key=lambda path: path.name)


def class_folders(folder: Path) -> list[Path]:
    """The folders in ``folder``, by name and without hidden ones.

    Raises FileNotFoundError if there are none.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder: give the folder that holds the class folders")
    found = sorted(path for path in folder.iterdir() if path.is_dir() and not path.name.startswith("."))
    if not found:
        raise FileNotFoundError(f"{folder} holds no class folders: is the data set unpacked one level further down?")
    return found


def load_class_folders(
    folder: Path,
    column_of: Mapping[str, int],
    columns: Columns,
    column_names: tuple[str, ...],
    precropped: bool = False,
) -> ImageSet:
    """Images of ``<folder>/<class>/``, where ``column_of`` gives the column of each folder name.

    Raises FileNotFoundError if there are no images, ValueError for a folder that ``column_of`` does not know.
    """
    paths: list[Path] = []
    accepted: list[tuple[int, ...]] = []
    for path in class_folders(folder):
        if path.name not in column_of:
            raise ValueError(
                f"{path} is not named after a class of this set; a valid name is {next(iter(column_of))!r}"
            )
        files = image_files(path)
        paths.extend(files)
        accepted.extend([(column_of[path.name],)] * len(files))
    if not paths:
        raise FileNotFoundError(f"the class folders in {folder} hold no {', '.join(sorted(SUFFIXES))} files")
    return ImageSet(tuple(paths), columns, column_names, tuple(accepted), precropped)
