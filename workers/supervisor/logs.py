"""Log files: one for each attempt, kept as long as an ended job is; and how those of long processes are kept short."""

import os
import re
import socket
import time
from contextlib import suppress
from pathlib import Path
from shutil import copyfileobj

from service.jobs.queue import Claim

_TAIL_BYTES = 16_000
_MAX_LINE = 500
_TRACEBACK = "Traceback (most recent call last):"
_EXCEPTION = re.compile(r"[A-Za-z_][\w.]*(\([\w.]+\))?(: .*)?")


def attempt_log(data_dir: Path, claim: Claim) -> Path:
    """Where the process of an attempt writes."""
    return data_dir / "logs" / f"{claim.job_id}.{claim.attempt}.log"


def standby_log(data_dir: Path) -> Path:
    """Where the process writes that waits for an attempt of this supervisor's."""
    return data_dir / "logs" / f"standby.{socket.gethostname()}-{os.getpid()}.log"


def rotate(log: Path, max_bytes: int) -> None:
    """Once ``log`` is larger than ``max_bytes``, copy its last ``max_bytes`` to ``NAME.1``, and empty it.

    Its writers must append (O_APPEND) and need not know; what they write between copy and emptying is lost. A disk that
    takes no copy keeps nothing from being emptied. No error is raised: a log stops no work.
    """
    with suppress(OSError):
        if log.stat().st_size <= max_bytes:
            return
        with suppress(OSError), log.open("rb") as source, log.with_name(f"{log.name}.1").open("wb") as target:
            source.seek(-max_bytes, os.SEEK_END)
            copyfileobj(source, target)
        os.truncate(log, 0)


def remove_old_logs(data_dir: Path, age: float) -> int:
    """Remove the logs of attempts that nothing wrote to for ``age`` seconds; returns how many there were.

    Logs of the service's own parts (``api.log``, ``api.log.1``) stay. Raises OSError as the disk does.
    """
    oldest = time.time() - age
    logs = [path for path in (data_dir / "logs").glob("*.*.log*") if path.stat().st_mtime < oldest]
    for path in logs:
        path.unlink(missing_ok=True)
    return len(logs)


def last_exception(log: Path) -> str:
    """The line of the log's last traceback that names the exception; empty when there is none to read."""
    try:
        with log.open("rb") as file:
            file.seek(max(0, log.stat().st_size - _TAIL_BYTES))
            _, found, after = file.read().decode(errors="replace").rpartition(_TRACEBACK)
    except OSError:
        return ""
    lines = [line for line in after.splitlines() if found and _EXCEPTION.fullmatch(line)]
    return lines[-1][:_MAX_LINE] if lines else ""
