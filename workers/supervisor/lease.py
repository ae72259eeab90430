"""The hold on a job, renewed from a thread and a connection of its own."""

import errno
import threading
from types import TracebackType
from typing import Self

from service.connection import connect
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.settings import Settings
from workers.threads import RepeatingThread


class Lease:
    """Renews a claim's lease until left; ``lost`` is set when the job was given to another attempt.

    While Redis does not answer the lease is neither renewed nor lost: when Redis is back, the first renewal tells.
    """

    def __init__(self, claim: Claim, settings: Settings) -> None:
        self._claim = claim
        self._client = connect(settings)
        self._store = JobStore(self._client, settings)
        self._thread = RepeatingThread(f"lease of job {claim.job_id}", self._renew, settings.lease / 3, retry=0.0)
        self.lost = threading.Event()

    def __enter__(self) -> Self:
        """Start to renew. Raises OSError when the machine has no thread left."""
        try:
            self._thread.start()
        except RuntimeError as error:
            raise OSError(errno.EAGAIN, str(error)) from error
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._thread.end()
        self._thread.join()
        self._client.close()

    def _renew(self) -> None:
        if not self._store.renew(self._claim.job_id, self._claim.attempt):
            self.lost.set()
            self._thread.end()
