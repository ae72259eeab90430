"""Processes that may end while a test looks at them."""

import signal
from collections.abc import Iterable

import psutil


def heed_interrupts() -> None:
    """Before a command starts: let SIGINT end it, also where these tests run in the background, which ignores it."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_alive(pid: int) -> bool:
    """Whether the process runs; one that has ended and was not waited for does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def listening(pids: Iterable[int]) -> set[str]:
    """The addresses on which these processes listen."""
    addresses = set()
    for pid in pids:
        try:
            found = psutil.Process(pid).net_connections("inet")
        except psutil.NoSuchProcess:
            continue
        addresses |= {each.laddr.ip for each in found if each.status == psutil.CONN_LISTEN}
    return addresses


def running(pids: Iterable[int], word: str) -> list[psutil.Process]:
    """Those of the processes that have ``word`` in their command line."""
    found = []
    for pid in pids:
        try:
            process = psutil.Process(pid)
            if word in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found
