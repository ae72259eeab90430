"""Files that appear whole."""

import errno
import os
import re
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

FULL = {errno.ENOSPC, errno.EDQUOT}
STALE_AFTER = 86_400.0
QUIET_FOR = 60.0
"""Seconds without a write after which an unfinished file is given up: always, and where its process is gone."""

_PARTIAL = re.compile(r"\..+\.(\d+)$")


@contextmanager
def whole_file(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which replaces ``path`` in one step once it is on the disk; what was there stays until then.

    Nothing is left of it when the block raises, and a kill leaves ``path`` as it was. Raises OSError, with what to do,
    when the disk is full, also where a writer inside hides that behind an error of its own; FileExistsError, without
    ``overwrite``, when another file has the name by then.
    """
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            partial.replace(path)
        else:
            _move_to_free(partial, path)
    except Exception as error:
        if (code := _full(error)) is None:
            raise
        what_to_do = "the disk is full: free some space, then give the same command again"
        raise OSError(code, what_to_do, str(path)) from error
    finally:
        partial.unlink(missing_ok=True)


def _move_to_free(partial: Path, path: Path) -> None:
    """Give a file the name ``path``. Raises FileExistsError if another file has it."""
    try:
        os.link(partial, path)
    except FileExistsError:
        raise
    except OSError:  # the file system has no hard links: take the name first, then put the content there
        path.open("xb").close()
        partial.replace(path)


def remove_stale(paths: Iterable[Path]) -> None:
    """Remove those of ``paths`` that are unfinished files of ``whole_file`` which nothing will finish.

    They are left by a kill. Other processes may be writing at this moment, of this machine or of another one that
    shares the disk: a file stays unless its process is gone here and it has not grown for a minute, or it is a day old.
    """
    for path in paths:
        if (match := _PARTIAL.match(path.name)) is None:
            continue
        try:
            age = time.time() - path.stat().st_mtime
        except FileNotFoundError:
            continue
        if age > STALE_AFTER or (age > QUIET_FOR and not _runs(int(match[1]))):
            path.unlink(missing_ok=True)


def _runs(process: int) -> bool:
    """Whether a process of this machine has this id."""
    try:
        os.kill(process, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


def _full(error: BaseException | None) -> int | None:
    """The code of a full disk behind ``error``, if that is what it comes from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
