"""Adaptation sets named on the command line."""

import json
import re
import zipfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from soupsearch.cli.exits import CommandError


@contextmanager
def set_sources(arguments: Sequence[str]) -> Iterator[list[Path | str]]:
    """For each argument, an archive to upload or the id of a stored set. A folder of class folders becomes a zip.

    Raises CommandError for an argument that is neither a path nor an id.
    """
    with TemporaryDirectory(prefix="soupsearch-") as scratch:
        yield [_source(argument, Path(scratch) / str(number)) for number, argument in enumerate(arguments)]


@contextmanager
def set_archives(arguments: Sequence[str]) -> Iterator[tuple[list[Path], list[str]]]:
    """The archives to upload and the ids of stored sets among ``set_sources``."""
    with set_sources(arguments) as sources:
        archives = [source for source in sources if isinstance(source, Path)]
        yield archives, [source for source in sources if isinstance(source, str)]


def _source(argument: str, scratch: Path) -> Path | str:
    path = Path(argument)
    if path.is_dir():
        return _zipped(path, scratch.with_name(f"{scratch.name}-{path.resolve().name}.zip"))
    if path.is_file():
        return path
    if re.fullmatch(r"[0-9a-f]{64}", argument):
        return argument
    raise CommandError(f"{argument} is not a file, a folder or the id of a stored set")


def _zipped(folder: Path, target: Path) -> Path:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    if not files:
        raise CommandError(f"{folder} has no files: it must hold one folder per class, with the images inside")
    with zipfile.ZipFile(target, "w", zipfile.ZIP_STORED, strict_timestamps=False) as archive:
        for file in files:
            archive.write(file, file.relative_to(folder))
    return target


def read_label_map(path: Path | None) -> dict[str, Any] | None:
    """A label map from a JSON file. Raises CommandError if the file does not hold a JSON object."""
    if path is None:
        return None
    try:
        content = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise CommandError(f"{path} is not a readable JSON file: {error}") from error
    if not isinstance(content, dict):
        raise CommandError(f"{path} must hold a JSON object that maps classes of the set to classes of the model")
    return content
