"""The disposable process that runs one attempt at a job."""

import json
import os
import signal
import subprocess
import sys
from typing import IO

from service.jobs.queue import Claim
from service.settings import Settings
from workers.faults import Fault
from workers.supervisor.logs import attempt_log, last_exception, rotate, standby_log


class Child:
    """``python -m workers.jobs.process``: started ahead of its claim, since its imports take seconds.

    Once it is given a claim, its output goes to a log file of the attempt's own. It ends with its supervisor, however
    that ends. Raises OSError when no process can be started.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        log = standby_log(settings.data_dir)
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("wb") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "workers.jobs.process", "--parent", str(os.getpid())],
                env=os.environ | settings.environment(),
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        self.log = log

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return self._process.poll() is None

    def give(self, claim: Claim) -> None:
        """Have it run the attempt. Raises OSError when it has ended, or its log cannot be made."""
        log = attempt_log(self._settings.data_dir, claim)
        log.touch()
        order = {"job": claim.job_id, "attempt": claim.attempt, "log": str(log.resolve())}
        with self._stdin as stdin:
            stdin.write(json.dumps(order).encode() + b"\n")
        self.log = log

    @property
    def _stdin(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise OSError("the process has no standard input")
        return self._process.stdin

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None when it runs on after ``timeout`` seconds; its log is kept short meanwhile."""
        rotate(self.log, self._settings.max_log_bytes)
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def end(self, grace: float) -> None:
        """Ask it to end; by force after ``grace`` seconds."""
        self._process.terminate()
        if self.wait(grace) is None:
            self.kill()

    def kill(self) -> None:
        """End it at once."""
        self._process.kill()
        self._process.wait()

    def reason(self, exit_code: int) -> str:
        """Why it failed, for the job's user: the signal or exit code, or that it failed, and its last exception."""
        if exit_code < 0:
            how = f"was ended by {signal.Signals(-exit_code).name}"
        else:
            how = "failed" if exit_code in set(Fault) else f"exited with {exit_code}"
        exception = last_exception(self.log) or last_exception(standby_log(self._settings.data_dir))
        return f"the job's process {how}" + (f": {exception}" if exception else "")
