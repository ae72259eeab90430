"""Durable writes: what is renamed into place is whole on the disk, and a full disk is an error of its own."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from safetensors import SafetensorError

from service.errors import StorageFull

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}


def _is_full(error: OSError | SafetensorError) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    # The Rust writer keeps no errno; its text names the operating system's code.
    return any(f"(os error {code})" in str(error) for code in FULL)


@contextmanager
def full_disk_as_error(root: Path) -> Iterator[None]:
    """Turn "no space left" (also over quota, file too large) from any writer inside into StorageFull."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not _is_full(error):
            raise
        msg = f"the disk of {root} is full: free some space, delete old jobs, or move SOUPSEARCH_DATA_DIR"
        raise StorageFull(msg) from error


def sync(path: Path) -> None:
    """Flush one file or folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Flush a folder and all in it to the disk, the leaves first."""
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            sync(Path(parent, name))
        sync(Path(parent))


def newest_change(path: Path) -> float:
    """Time of the last change of a file, or of anything in a folder, in seconds since the epoch."""
    paths = [path, *path.rglob("*")] if path.is_dir() else [path]
    times = []
    for each in paths:
        try:
            times.append(each.stat(follow_symlinks=False).st_mtime)
        except FileNotFoundError:
            continue
    return max(times, default=0.0)
