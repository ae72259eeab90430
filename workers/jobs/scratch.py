"""A folder for an attempt's temporary files."""

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

_PREFIX = "soupsearch-job-"
_NAME = re.compile(_PREFIX + r"([0-9]{1,7})-")


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, removed afterwards; those that killed processes of this user left are removed first."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        owner = _NAME.match(folder.name)
        if owner is not None and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)
