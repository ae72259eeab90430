"""Files that appear whole, and folders for them."""

import errno
import os
import re
import socket
import stat
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryFile
from typing import BinaryIO

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
"""What the system says where there is no room: nothing is free, the user's share is used up, a file is too large."""

STALE_AFTER = 86_400.0
"""Seconds without a write after which an unfinished file of any machine is given up."""

QUIET_FOR = 60.0
"""Seconds without a write after which an unfinished file is given up whose process, of this machine, is gone."""

_PROCESS_IDS = Path("/proc/self/ns/pid")
"""On Linux the name space of this process's id: containers of one host may share the host's name, but not this."""

_PARTIAL = re.compile(r"\..+\.([^.]+)\.(\d+)$")


@contextmanager
def whole_file(path: Path, *, overwrite: bool = True) -> Iterator[BinaryIO]:
    """A file to write, which replaces ``path`` in one step once it is on the disk; what was there stays until then.

    Nothing is left of it when the block raises, and a kill leaves ``path`` as it was. Raises OSError, with what to do,
    when the disk is full, also where a writer inside hides that behind an error of its own; FileExistsError, without
    ``overwrite``, when another file has the name by then.
    """
    partial = path.with_name(f".{path.name}.{_machine()}.{os.getpid()}")
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


def make_output_folder(folder: Path, *, otherwise: str) -> None:
    """Make ``folder`` where there is none.

    Raises OSError, which ends in ``otherwise``, what to do instead, unless files can be written there.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise OSError(f"no file can be written in {folder} ({error.strerror}): {otherwise}") from error


def remove_stale(paths: Iterable[Path]) -> None:
    """Remove those of ``paths`` that are unfinished files of ``whole_file`` which nothing will finish.

    They are left by a kill. Other processes may be writing at this moment, of this machine or of another one that
    shares the disk: a file stays unless it is a day old, or is of this machine, where its process is gone, and has not
    grown for a minute. What may not be looked at or removed stays, such as another user's.
    """
    machine = _machine()
    for path in paths:
        if (match := _PARTIAL.match(path.name)) is None:
            continue
        with suppress(OSError):
            status = path.lstat()
            gone = match[1] == machine and not _runs(int(match[2]))
            if stat.S_ISREG(status.st_mode) and time.time() - status.st_mtime > (QUIET_FOR if gone else STALE_AFTER):
                path.unlink()


def _machine() -> str:
    """Where ids of processes mean what they mean here: this host's name, without dots, and in which name space."""
    host = re.sub(r"[^\w-]", "-", socket.gethostname())
    try:
        return f"{host}-{_PROCESS_IDS.stat().st_ino}"
    except OSError:
        return host


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
