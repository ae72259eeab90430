"""Processes that end when their parent does, however it ended (prctl(2), PR_SET_PDEATHSIG; Linux)."""

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, signal_number: signal.Signals = signal.SIGTERM) -> None:
    """Ask the kernel to send ``signal_number`` to this process when the parent's starting thread ends.

    ``parent`` is the parent's own process id: if the parent has died before this call, this process exits at once.
    On systems other than Linux nothing happens. Raises OSError if the kernel refuses.
    """
    if sys.platform != "linux":
        return
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(signal_number), 0, 0, 0) != 0:
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    if os.getppid() != parent:
        raise SystemExit(f"parent {parent} ended before its child began")
