"""Results on disk: files that appear complete, under names that say what they depend on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workers.whole_file import remove_stale, whole_file

Arrays = dict[str, NDArray[Any]]

FORMAT = 1
"""Increased when the contents of files change their meaning, so that older files are made again."""


def digest_of(*parts: object) -> str:
    """A short digest of JSON values and of this format."""
    text = json.dumps([FORMAT, *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def file_digest(path: Path) -> str:
    """The sha256 of a file, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


@dataclass(frozen=True)
class Store:
    """Arrays below ``root``, one file per name, written by rename: a kill at any time leaves only complete files."""

    root: Path

    def path(self, name: str) -> Path:
        """The file of ``name``, which may contain slashes."""
        return self.root / f"{name}.npz"

    def has(self, name: str) -> bool:
        """Whether ``name`` has been written."""
        return self.path(name).is_file()

    def write(self, name: str, arrays: Mapping[str, NDArray[Any]]) -> None:
        """Keep ``arrays`` under ``name``. Raises OSError."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_file(path) as file:
            np.savez(file, allow_pickle=False, **arrays)

    def clean(self) -> None:
        """Remove what killed runs left unfinished. Files that others are writing stay."""
        remove_stale(self.root.rglob(".*"))

    def read(self, name: str, *members: str) -> Arrays:
        """The arrays ``members`` of ``name``, or all of them. Raises FileNotFoundError."""
        with np.load(self.path(name), allow_pickle=False) as content:
            return {member: content[member] for member in members or content.files}
