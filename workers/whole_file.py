"""Files that appear whole."""

import errno
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

FULL = {errno.ENOSPC, errno.EDQUOT}


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


def _full(error: BaseException | None) -> int | None:
    """The code of a full disk behind ``error``, if that is what it comes from."""
    while error is not None:
        if isinstance(error, OSError) and error.errno in FULL:
            return error.errno
        error = error.__cause__ or error.__context__
    return None
