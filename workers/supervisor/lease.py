"""The hold on a job, renewed from a thread and a connection of its own."""

import errno
import logging
import threading
from types import TracebackType
from typing import Self

import redis

from service.connection import connect
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.settings import Settings

_log = logging.getLogger(__name__)


class Lease:
    """Renews a claim's lease until left; ``lost`` is set when the job was given to another attempt.

    While Redis does not answer the lease is neither renewed nor lost: when Redis is back, the first renewal tells.
    """

    def __init__(self, claim: Claim, settings: Settings) -> None:
        self._claim = claim
        self._settings = settings
        self._left = threading.Event()
        self.lost = threading.Event()
        self._thread = threading.Thread(target=self._renew, name=f"lease-{claim.job_id}", daemon=True)

    def __enter__(self) -> Self:
        """Start to renew. Raises OSError when the machine has no thread left."""
        try:
            self._thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._left.set()
        self._thread.join()

    def _renew(self) -> None:
        with connect(self._settings) as client:
            store = JobStore(client, self._settings)
            while not self._left.wait(self._settings.lease / 3):
                try:
                    held = store.renew(self._claim.job_id, self._claim.attempt)
                except redis.RedisError as error:
                    _log.warning("could not renew the lease of job %s: %s", self._claim.job_id, error)
                    continue
                if not held:
                    self.lost.set()
                    return
