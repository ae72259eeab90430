"""The supervisor: claims one job after the other and runs each in a child process."""

import logging
import os
import secrets
import signal
import socket
import sys
import threading
from contextlib import suppress
from types import FrameType

import redis

from service.connection import connect
from service.errors import Expired, FencedOut, JobNotFound, SoupsearchError
from service.jobs.queue import Claim
from service.jobs.store import JobStore
from service.schemas.job import JobStatus
from service.settings import Settings
from workers.faults import Fault, fault_of_exit
from workers.supervisor.background import Background
from workers.supervisor.cancellation import Cancellation, has_nothing_to_keep
from workers.supervisor.child import Child
from workers.supervisor.lease import Lease

CLAIM_BLOCK_MS = 1000
WATCH_INTERVAL = 0.2
CHILD_GRACE = 10.0
_RETRY = 1.0
_RETRY_START = 5.0
_LONGEST_PAUSE = 30.0

_log = logging.getLogger(__name__)


class Supervisor:
    """Runs jobs until ``stop``: at most one at a time, since a job uses all evaluators of the Ray cluster.

    The child writes the job's states; the supervisor holds the lease. When the child ends without having finished the
    job, its exit code is a ``Fault``: the attempt is noted as failed by the job's own fault or as lost, or the job is
    given back to wait for the cluster; so it is on ``stop``, and when no child can be started. After an outage or a
    loss the supervisor pauses, longer each time, before it claims again: another may be luckier. No exception ends it.
    """

    def __init__(self, settings: Settings) -> None:
        self.id = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._settings = settings
        self._stopping = threading.Event()
        self._outages = 0
        self._standby: Child | None = None
        self._unreturned: Claim | None = None
        self._redis = connect(settings)
        self._store = JobStore(self._redis, settings)

    def stop(self) -> None:
        """Have ``run`` return soon. May be called from a signal handler."""
        self._stopping.set()

    def run(self) -> None:
        """Claim and run jobs until ``stop``; waits for a Redis that does not answer."""
        background = Background(self.id, self._settings)
        background.start()
        _log.info("supervisor %s waits for jobs", self.id)
        try:
            while not self._stopping.is_set():
                try:
                    self._run_next()
                except redis.RedisError as error:
                    _log.warning("Redis does not answer: %s", error)
                    self._stopping.wait(_RETRY)
                except OSError as error:
                    _log.warning("cannot start a process for a job: %s", error)
                    self._stopping.wait(_RETRY_START)
                except Exception:  # noqa: BLE001 - the jobs that wait are not to suffer for this one
                    _log.exception("the supervisor goes on after an error of its own")
                    self._stopping.wait(_RETRY)
        finally:
            if self._standby is not None:
                self._standby.kill()
            background.stop()
            self._redis.close()

    def _run_next(self) -> None:
        self._return_claim()
        self._prepare()
        claim = self._store.claim(self.id, CLAIM_BLOCK_MS)
        if claim is None:
            return
        _log.info("attempt %d at job %s", claim.attempt, claim.job_id)
        try:
            self._attempt(claim)
        except (FencedOut, JobNotFound, Expired) as error:
            _log.warning("attempt %d at job %s is void: %s", claim.attempt, claim.job_id, error)

    def _prepare(self) -> None:
        """Have a process stand by for the next job."""
        if self._standby is not None:
            return
        try:
            self._standby = Child(self._settings)
        except OSError as error:
            _log.warning("cannot start a process ahead of its job: %s", error)

    def _take_child(self, claim: Claim) -> Child:
        child, self._standby = self._standby, None
        if child is None or not child.is_alive:
            child = Child(self._settings)
        try:
            child.give(claim)
        except OSError:
            child.kill()
            raise
        return child

    def _attempt(self, claim: Claim) -> None:
        try:
            self._supervise(claim)
        except OSError:
            self._store.release(claim.job_id, claim.attempt)
            raise
        except (redis.RedisError, SoupsearchError):
            raise
        except Exception as error:
            reason = f"its supervisor failed: {type(error).__name__}"
            self._store.fail_attempt(claim.job_id, claim.attempt, reason)
            raise

    def _supervise(self, claim: Claim) -> None:
        cancellation = Cancellation(claim, self._store)
        with Lease(claim, self._settings) as lease:
            child = self._take_child(claim)
            try:
                exit_code = self._watch(child, lease, cancellation)
            except BaseException:
                child.kill()
                raise
            if exit_code is None:
                self._abandon(claim, child, lost=lease.lost.is_set())
        if exit_code is not None:
            self._conclude(claim, child, exit_code)

    def _watch(self, child: Child, lease: Lease, cancellation: Cancellation) -> int | None:
        """The child's exit code; None when it must not go on."""
        while not (lease.lost.is_set() or self._stopping.is_set() or cancellation.is_overdue()):
            exit_code = child.wait(WATCH_INTERVAL)
            if exit_code is not None:
                return exit_code
        return None

    def _abandon(self, claim: Claim, child: Child, *, lost: bool) -> None:
        if lost:
            child.kill()
            _log.warning("job %s was given to another attempt", claim.job_id)
            return
        child.end(CHILD_GRACE if self._stopping.is_set() else 0.0)
        job = self._store.get(claim.job_id)
        if has_nothing_to_keep(job):
            self._store.finish(claim.job_id, claim.attempt, JobStatus.CANCELLED)
        elif not job.is_terminal:
            self._store.release(claim.job_id, claim.attempt)

    def _return_claim(self) -> None:
        """Give back the job of an attempt that ended while Redis was away."""
        if self._unreturned is None:
            return
        with suppress(FencedOut, JobNotFound, Expired):
            self._store.release(self._unreturned.job_id, self._unreturned.attempt)
        self._unreturned = None

    def _wait_out(self, claim: Claim) -> None:
        self._unreturned = claim
        if has_nothing_to_keep(self._store.get(claim.job_id)):
            self._store.finish(claim.job_id, claim.attempt, JobStatus.CANCELLED)
        self._return_claim()
        self._outages += 1
        _log.warning("job %s waits: the cluster or Redis did not answer, or had no room", claim.job_id)
        self._pause(self._outages)

    def _pause(self, count: int) -> None:
        """Wait for 2, 4, ... seconds after so many outages or losses in a row, while the next process gets ready."""
        if count:
            self._prepare()
            self._stopping.wait(min(2.0**count, _LONGEST_PAUSE))

    def _conclude(self, claim: Claim, child: Child, exit_code: int) -> None:
        fault = None if exit_code == 0 else fault_of_exit(exit_code)
        if fault is Fault.CLUSTER:
            self._wait_out(claim)
            return
        self._outages = 0
        job = self._store.get(claim.job_id)
        if fault is None and job.is_terminal:
            return
        if has_nothing_to_keep(job):
            self._store.finish(claim.job_id, claim.attempt, JobStatus.CANCELLED)
            return
        lost = fault in {Fault.ELSEWHERE, Fault.SUPERSEDED}
        failure = self._store.fail_attempt(claim.job_id, claim.attempt, child.reason(exit_code), lost=lost)
        what, again = "was lost" if lost else "failed", ", tried again" if failure.retried else ""
        _log.warning("attempt %d at job %s %s%s", claim.attempt, claim.job_id, what, again)
        if lost and failure.retried:
            self._pause(failure.count)


def run(settings: Settings) -> None:
    """Run a supervisor until SIGTERM or SIGINT."""
    logging.basicConfig(
        stream=sys.stderr,
        level=settings.log_level.upper(),
        format="%(asctime)s %(levelname)s %(name)s: %(message)s",
    )
    supervisor = Supervisor(settings)

    def stop(number: int, frame: FrameType | None) -> None:
        del number, frame
        supervisor.stop()

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    supervisor.run()
