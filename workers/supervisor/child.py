"""The disposable process that runs one attempt at a job."""

import os
import signal
import subprocess
import sys

from service.jobs.queue import Claim
from service.settings import Settings
from workers.supervisor.logs import attempt_log, last_exception


class Child:
    """``python -m workers.jobs.process`` for one claim, with its output in a log file of its own.

    It ends with its supervisor, however that ends. Raises OSError when the log cannot be made or no process started.
    """

    def __init__(self, claim: Claim, settings: Settings) -> None:
        self.log = attempt_log(settings.data_dir, claim)
        self.log.parent.mkdir(parents=True, exist_ok=True)
        identity = ["--job", claim.job_id, "--attempt", str(claim.attempt), "--parent", str(os.getpid())]
        with self.log.open("ab") as output:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "workers.jobs.process", *identity],
                env=os.environ | settings.environment(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
            )

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    def wait(self, timeout: float) -> int | None:
        """The exit code, or None when it runs on after ``timeout`` seconds."""
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
        """Why it failed, for the job's user: the signal or exit code, and the exception if one ended it."""
        how = f"was ended by {signal.Signals(-exit_code).name}" if exit_code < 0 else f"exited with {exit_code}"
        exception = last_exception(self.log)
        return f"the job's process {how}" + (f": {exception}" if exception else "")
