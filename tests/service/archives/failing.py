"""A disk that fails, and memory that runs out, in the middle of a file."""

import errno
import io
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

FAILURES: dict[str, Callable[[], Exception]] = {
    "disk": lambda: OSError(errno.EIO, "Input/output error"),
    "memory": MemoryError,
}


class FailingFile(io.FileIO):
    """A file that gives ``reads`` reads and then raises what ``failure`` makes."""

    def __init__(self, path: Path, reads: int, failure: Callable[[], Exception]) -> None:
        super().__init__(path)
        self._reads = reads
        self._failure = failure

    def _count(self) -> None:
        self._reads -= 1
        if self._reads < 0:
            raise self._failure()

    def readinto(self, buffer: Any, /) -> int:
        self._count()
        return super().readinto(buffer) or 0

    def read(self, size: int | None = -1, /) -> bytes:
        self._count()
        return super().read(size) or b""

    def readall(self) -> bytes:
        self._count()
        return super().readall() or b""


def failures(read: Callable[[int], object]) -> Iterator[Exception]:
    """What ``read`` raises when the 1st, 2nd, ... read of its file fails, until it ends without."""
    for reads in count():
        try:
            read(reads)
        except Exception as error:  # noqa: BLE001 - the test judges it
            yield error
        else:
            return
