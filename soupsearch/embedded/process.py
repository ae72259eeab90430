"""A process of the embedded service, restarted if it ends unexpectedly."""

import os
import subprocess
import sys
import time
from pathlib import Path

from service.settings import Settings
from workers.supervisor.logs import rotate

LEAST_UPTIME = 5.0
"""Seconds. A process that ends sooner than this is restarted only after a pause of this length."""


class ServiceProcess:
    """``soupsearch NAME`` as a child process with these settings in its environment and its output in a log file."""

    def __init__(
        self, name: str, settings: Settings, log: Path, *arguments: str, inherited: tuple[int, ...] = ()
    ) -> None:
        self.name = name
        self._command = [sys.executable, "-P", "-m", "soupsearch", name, "--parent", str(os.getpid()), *arguments]
        self._environment = os.environ | settings.environment()
        self._log = log
        self._max_log_bytes = settings.max_log_bytes
        self._inherited = inherited
        self._process: subprocess.Popen[bytes] | None = None
        self._started = 0.0

    def start(self) -> None:
        """Start the process."""
        self._log.parent.mkdir(parents=True, exist_ok=True)
        with self._log.open("ab") as output:
            self._process = subprocess.Popen(
                self._command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=self._inherited,
                start_new_session=True,
            )
        self._started = time.monotonic()

    @property
    def pid(self) -> int:
        """Process id of the last start; 0 before the first."""
        return self._process.pid if self._process else 0

    @property
    def is_alive(self) -> bool:
        """Whether the process is running."""
        return self._process is not None and self._process.poll() is None

    def keep_alive(self) -> None:
        """Start it again when it has ended, at most once in ``LEAST_UPTIME`` seconds; keep its log short."""
        rotate(self._log, self._max_log_bytes)
        if not self.is_alive and time.monotonic() - self._started > LEAST_UPTIME:
            self.start()

    def stop(self, timeout: float = 20.0) -> None:
        """Ask the process to end, and kill it after ``timeout`` seconds."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def last_lines(self, count: int = 20) -> str:
        """The last ``count`` lines of its log."""
        return "\n".join(self._log.read_text(errors="replace").splitlines()[-count:]) if self._log.exists() else ""
