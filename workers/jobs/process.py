"""``python -m workers.jobs.process``: the disposable process of one attempt at a job.

``--job`` and ``--attempt`` name the attempt. Without them, the process imports everything and then reads the attempt
from a line on standard input: ``{"job": ID, "attempt": N, "log": FILE}``. One process runs one ``ray.init`` and one
``Tuner.fit``. Exit code 0 means that the job has ended. Any other code means that it has not; the code is a
``workers.faults.Fault``, which the supervisor acts on.
"""

import argparse
import json
import logging
import os
import re
import shutil
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

import psutil

from service.parent_death import die_with_parent

if TYPE_CHECKING:
    from service.jobs.queue import Claim
    from service.jobs.store import JobStore
    from service.settings import Settings

_log = logging.getLogger(__name__)
_PREFIX = "soupsearch-job-"
_NAME = re.compile(_PREFIX + r"([0-9]{1,7})-")


def main(arguments: list[str] | None = None) -> int:
    """Run the attempt that the arguments or standard input name, with the settings of the environment."""
    parser = argparse.ArgumentParser(description="Run one attempt at a job.")
    parser.add_argument("--job")
    parser.add_argument("--attempt", type=int, default=1)
    parser.add_argument("--parent", type=int, help="process id to end with")
    options = parser.parse_args(arguments)
    if options.parent is not None:
        die_with_parent(options.parent, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    return _stand_by() if options.job is None else run_attempt(options.job, options.attempt)


def _stand_by() -> int:
    """Import, wait for an attempt and run it; 0 when standard input ends instead."""
    from workers.ray_runtime.tuning import import_tune

    import_module("workers.jobs.attempt")
    import_tune()
    line = sys.stdin.readline()
    if not line:
        return 0
    order = json.loads(line)
    log = os.open(order["log"], os.O_WRONLY | os.O_APPEND)
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    return run_attempt(order["job"], order["attempt"])


def run_attempt(job_id: str, attempt: int) -> int:
    """Run one attempt and return the exit code; failures are logged."""
    from service.connection import connect
    from service.jobs.queue import Claim
    from service.jobs.store import JobStore
    from service.settings import get_settings
    from workers.faults import fault_of

    settings = get_settings()
    logging.basicConfig(stream=sys.stderr, level=settings.log_level.upper())
    try:
        with connect(settings) as client:
            return _attempt(Claim(job_id, attempt), JobStore(client, settings), settings)
    except Exception as error:  # noqa: BLE001 - the supervisor reads the exit code and the log
        _log.exception("attempt %d at job %s ended", attempt, job_id)
        return fault_of(error)


def _attempt(claim: "Claim", store: "JobStore", settings: "Settings") -> int:
    """Run the attempt; if the job must wait for something, add a warning that says so."""
    from service.errors import Unavailable
    from service.schemas.job import JobWarning
    from workers.faults import Fault, fault_of
    from workers.jobs.attempt import Attempt

    try:
        with scratch_folder() as folder:
            Attempt(claim, store, settings, folder).run()
    except Unavailable as error:
        if fault_of(error) is Fault.CLUSTER:
            message = f"the job waits until its search can run: {error.detail}"
            store.warn(claim.job_id, claim.attempt, JobWarning(code=error.code, message=message))
        raise
    return 0


@contextmanager
def scratch_folder() -> Iterator[Path]:
    """A new folder, removed afterwards; first removes those left by killed processes of this user."""
    _sweep(Path(tempfile.gettempdir()))
    with tempfile.TemporaryDirectory(prefix=f"{_PREFIX}{os.getpid()}-", ignore_cleanup_errors=True) as folder:
        yield Path(folder)


def _sweep(parent: Path) -> None:
    for folder in parent.glob(f"{_PREFIX}*"):
        owner = _NAME.match(folder.name)
        if owner is not None and not psutil.pid_exists(int(owner[1])):
            shutil.rmtree(folder, ignore_errors=True)


def end(exit_code: int) -> NoReturn:
    """End the process at once: Tune would take seconds to end its trials, and Ray ends them with their driver."""
    logging.shutdown()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(exit_code)


if __name__ == "__main__":
    end(main())
