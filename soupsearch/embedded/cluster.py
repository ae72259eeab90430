"""A private Ray cluster on this machine, for users without one."""

import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

from service.errors import Unavailable
from soupsearch.embedded.launch import LAUNCH

OBJECT_STORE_BYTES = 1024 * 2**20
MAX_LOG_BYTES = 16 * 2**20
_PREFIX = "soupsearch-ray-"
_RAY = [sys.executable, "-P", "-m", "ray.scripts.scripts"]


class LocalCluster:
    """One Ray head that can be reached only from this machine, and only with its token.

    ``cpus`` are logical: Ray counts evaluators and Tune's trials by them but does not bind them to cores. The head runs
    in its own temporary folder (a short path, for its unix sockets), on free ports of 127.0.0.1, without dashboard or
    statistics. Ray keeps each log in that folder below ``max_log_bytes``, with one older file of as many; what the head
    prints is appended to ``log_file``. It ends by ``stop``, and also when the thread that called ``start`` or its
    process is killed. Use as a context manager or call ``start`` and ``stop``.
    """

    def __init__(
        self,
        *,
        cpus: int | None = None,
        object_store_bytes: int = OBJECT_STORE_BYTES,
        log_file: Path | None = None,
        max_log_bytes: int = MAX_LOG_BYTES,
    ) -> None:
        self._cpus = cpus or (os.cpu_count() or 1) + 1
        self._object_store_bytes = object_store_bytes
        self._log_file = log_file
        self._max_log_bytes = max_log_bytes
        self._folder: Path | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self.address = ""
        self.environment: dict[str, str] = {}

    def start(self, timeout: float = 150.0) -> str:
        """Start the head and return its address, ``127.0.0.1:port``.

        Every process that connects needs ``environment`` (the token); ``start`` adds it to this process's environment.
        Raises Unavailable if the head does not start within ``timeout`` seconds, with the end of its log.
        """
        _sweep()
        self._folder = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{os.getpid()}-", dir="/tmp"))
        self.environment = _environment(self._folder, self._max_log_bytes)
        log = self._log_file or self._folder / "head.log"
        with log.open("ab") as output:
            earlier = output.tell()
            self._process = subprocess.Popen(
                [*LAUNCH, str(os.getpid()), *_RAY, "start", *self._arguments()],
                env={**os.environ, **self.environment},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.address = self._await_address(self._process, log, earlier, time.monotonic() + timeout)
        os.environ.update(self.environment)
        return self.address

    def stop(self, timeout: float = 15.0) -> None:
        """Stop every process of the cluster, by force after ``timeout`` seconds, and remove its folder."""
        if self._process is not None:
            _end(self._process, timeout)
            self._process = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
            self._folder = None
        self.address = ""

    @property
    def is_alive(self) -> bool:
        """Whether the head is running. If a part of it dies, it ends by itself, together with all tasks and actors."""
        return self._process is not None and self._process.poll() is None

    @property
    def pids(self) -> list[int]:
        """Process ids of the head and of everything it started."""
        if self._process is None:
            return []
        return [self._process.pid, *(child.pid for child in _descendants(self._process.pid))]

    def _arguments(self) -> list[str]:
        return [
            "--head",
            "--block",
            "--port=0",
            "--node-ip-address=127.0.0.1",
            "--include-dashboard=false",
            "--include-log-monitor=false",
            "--disable-usage-stats",
            f"--num-cpus={self._cpus}",
            f"--object-store-memory={self._object_store_bytes}",
            f"--temp-dir={self._folder}/r",
        ]

    def _await_address(self, process: subprocess.Popen[bytes], log: Path, earlier: int, deadline: float) -> str:
        written = Path(f"{self._folder}/r/ray_current_cluster")
        while time.monotonic() < deadline and process.poll() is None:
            if address := _address(_since(log, earlier), written):
                return address
            time.sleep(0.05)
        tail = _since(log, earlier).decode(errors="replace")[-2000:]
        self.stop()
        raise Unavailable(f"the local Ray did not start; its log ends with: {tail}", code="ray_unavailable")

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _since(log: Path, earlier: int) -> bytes:
    """What was written to the log after its first ``earlier`` bytes."""
    with log.open("rb") as file:
        file.seek(earlier)
        return file.read()


def _address(printed: bytes, written: Path) -> str:
    """The head's address once it has ``printed`` that it runs; empty before. Ray makes the file before it writes it."""
    return written.read_text().strip() if b"Ray runtime started" in printed and written.is_file() else ""


def _environment(folder: Path, max_log_bytes: int) -> dict[str, str]:
    """The environment variables of the head and of every process that connects to it."""
    token = folder / "token"
    token.touch(mode=0o600)
    token.write_text(secrets.token_hex(32))
    return {
        "RAY_AUTH_MODE": "token",
        "RAY_AUTH_TOKEN_PATH": str(token),
        # Without this, Ray replaces 127.0.0.1 by the machine's address, and its servers listen on every interface.
        "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_ROTATION_MAX_BYTES": str(max_log_bytes),
        "RAY_ROTATION_BACKUP_COUNT": "1",
        # By default Ray's workers give way to everything else on the machine.
        "RAY_worker_niceness": "0",
        "AUTOSCALER_METRIC_PORT": "0",
        # By default a stopping head waits 30 seconds for its actors, but evaluators end only with the head.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # Ray's own limits, 30 and 60 seconds, are too short on a busy machine.
        "RAY_raylet_start_wait_time_s": "120",
        "RAY_worker_register_timeout_seconds": "180",
    }


def _descendants(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _end(process: subprocess.Popen[bytes], timeout: float) -> None:
    family = _descendants(process.pid)
    process.terminate()
    try:
        process.wait(timeout)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    _, alive = psutil.wait_procs(family, timeout=2)
    for child in alive:
        child.kill()
    psutil.wait_procs(alive, timeout=5)


def _sweep() -> None:
    """Remove the folders of clusters whose owners were killed."""
    for folder in Path("/tmp").glob(f"{_PREFIX}*"):  # noqa: S108
        owner = folder.name.removeprefix(_PREFIX).split("-")[0]
        if owner.isdigit() and not psutil.pid_exists(int(owner)) and folder.stat().st_uid == os.getuid():
            shutil.rmtree(folder, ignore_errors=True)
