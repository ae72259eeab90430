"""Limits of the kernel that a process meets when its machine is short of something."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def limited(kind: int, soft: int) -> Iterator[None]:
    """The process's limit of ``kind`` (resource.RLIMIT_...) is ``soft``."""
    before = resource.getrlimit(kind)
    resource.setrlimit(kind, (soft, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(kind, before)


@contextmanager
def no_more_files() -> Iterator[None]:
    """No file can be opened: OSError EMFILE."""
    with limited(resource.RLIMIT_NOFILE, 0):
        yield


@contextmanager
def memory_limited_to_another(size: int) -> Iterator[None]:
    """No more than ``size`` bytes of address space beyond those that the process has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    with limited(resource.RLIMIT_AS, pages * resource.getpagesize() + size):
        yield
