"""Threads that nothing but their owner ends."""

import logging
import threading
from collections.abc import Callable

import redis

RETRY = 1.0

_log = logging.getLogger(__name__)


class RepeatingThread(threading.Thread):
    """Calls ``task`` again and again, ``interval`` seconds apart, until ``end``.

    No exception stops it: the exception is logged, counted in ``failures`` (those in a row), and the task is called
    again after the interval, or after ``retry`` seconds if that is longer. Redis and the operating system get a line
    in the log, any other exception its traceback.
    """

    def __init__(self, name: str, task: Callable[[], object], interval: float, *, retry: float = RETRY) -> None:
        super().__init__(name=name, daemon=True)
        self.failures = 0
        self._task = task
        self._interval = interval
        self._retry = retry
        self._ending = threading.Event()

    def run(self) -> None:
        """Repeat the task; what the thread does."""
        while not self._ending.is_set():
            try:
                self._task()
                self.failures = 0
            except Exception as error:  # noqa: BLE001 - nobody would call the task again
                self._note(error)
            self._ending.wait(max(self._interval, self._retry) if self.failures else self._interval)

    def end(self) -> None:
        """Have it call the task no more; the call under way, if any, is not waited for. From any thread."""
        self._ending.set()

    def _note(self, error: Exception) -> None:
        self.failures += 1
        is_foreseen = isinstance(error, redis.RedisError | OSError)
        _log.log(
            logging.WARNING if is_foreseen else logging.ERROR,
            "%s failed, %d in a row: %s",
            self.name,
            self.failures,
            error,
            exc_info=None if is_foreseen else error,
        )
