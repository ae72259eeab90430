"""The logs of attempts: one file each, kept as long as an ended job is."""

import os
import re
import socket
import time
from pathlib import Path

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


def remove_old_logs(data_dir: Path, age: float) -> int:
    """Remove the logs of attempts that nothing wrote to for ``age`` seconds; returns how many there were.

    Logs of the service's own parts (``api.log``) stay. Raises OSError as the disk does.
    """
    oldest = time.time() - age
    logs = [path for path in (data_dir / "logs").glob("*.*.log") if path.stat().st_mtime < oldest]
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
