"""The embedded service: what ``soupsearch serve`` runs."""

import signal
import socket
import threading
import time
from contextlib import ExitStack
from types import FrameType, TracebackType
from typing import Self

from service.errors import Unavailable
from service.settings import Settings
from soupsearch.client import Client
from soupsearch.embedded.cluster import LocalCluster
from soupsearch.embedded.process import ServiceProcess
from soupsearch.embedded.redis import EmbeddedRedis
from workers.supervisor.logs import rotate

READY_TIMEOUT = 120.0


class EmbeddedService:
    """Redis, Ray, one worker and the API on this machine. Use as a context manager, which returns when all are ready.

    It runs the same processes as a deployment, at private addresses: Redis on a unix socket, Ray on the loopback
    interface with a token, the API at ``url``. API and worker are restarted if they end unexpectedly; the API's
    socket stays open meanwhile. Everything stops on exit, and when this process is killed.

    Raises Unavailable if a part does not start, with the end of its log. ``wait`` raises it if Ray dies, because Ray
    cannot be restarted under running jobs.
    """

    def __init__(self, settings: Settings) -> None:
        self._given = settings
        self._stack = ExitStack()
        self._stopping = threading.Event()
        self.processes: list[ServiceProcess] = []
        self.redis = EmbeddedRedis(settings.data_dir)
        self._ray_log = settings.data_dir / "logs" / "ray.log"
        self._cluster = LocalCluster(log_file=self._ray_log, max_log_bytes=settings.max_log_bytes)
        self.settings = settings
        self.url = ""

    def __enter__(self) -> Self:
        """Start everything and wait until jobs can run."""
        self._handle_signals()
        with ExitStack() as stack:
            self._given.data_dir.mkdir(parents=True, exist_ok=True)
            logs = self._given.data_dir / "logs"
            logs.mkdir(exist_ok=True)
            redis_url = stack.enter_context(self.redis).url
            listener = stack.enter_context(_listen(self._given.host, self._given.port))
            host, port = listener.getsockname()[:2]
            self.url = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
            stack.enter_context(self._cluster)
            changes = {"redis_url": redis_url, "ray_address": self._cluster.address, "port": port}
            self.settings = self._given.model_copy(update=changes)
            descriptor = listener.fileno()
            self.processes = [
                ServiceProcess(
                    "api", self.settings, logs / "api.log", "--fd", str(descriptor), inherited=(descriptor,)
                ),
                ServiceProcess("worker", self.settings, logs / "worker.log"),
            ]
            for process in self.processes:
                stack.callback(process.stop)
                process.start()
            self._await_ready()
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything, in reverse order."""
        self._stopping.set()
        self._stack.close()

    def wait(self) -> None:
        """Keep the parts running, and their logs short, until SIGINT, SIGTERM or ``stop``.

        Raises Unavailable when Ray has died.
        """
        while not self._stopping.wait(0.5):
            if not self._cluster.is_alive:
                raise Unavailable(f"Ray has died: see {self._ray_log} and start the service again")
            if not self.redis.is_running:
                self.redis.start()
            for process in self.processes:
                process.keep_alive()
            for log in (self._ray_log, self.redis.log_file):
                rotate(log, self.settings.max_log_bytes)

    def stop(self) -> None:
        """Make ``wait`` return."""
        self._stopping.set()

    def _handle_signals(self) -> None:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        """Leave ``wait``. A second signal, or one during the start, raises SystemExit immediately."""
        del frame
        if self._stopping.is_set() or not self._started:
            raise SystemExit(128 + number)
        self._stopping.set()

    @property
    def _started(self) -> bool:
        return bool(self.processes) and all(process.pid for process in self.processes)

    def _await_ready(self) -> None:
        deadline = time.monotonic() + READY_TIMEOUT
        with Client(self.url, timeout=5.0) as client:
            while not client.ready():
                dead = next((process for process in self.processes if not process.is_alive), None)
                if dead is not None:
                    raise Unavailable(
                        f"soupsearch {dead.name} ended while starting; its log ends with:\n{dead.last_lines()}"
                    )
                if self._stopping.is_set():
                    raise SystemExit(128 + signal.SIGINT)
                if time.monotonic() > deadline:
                    raise Unavailable(f"the service was not ready within {READY_TIMEOUT:.0f} s: see the logs folder")
                time.sleep(0.1)


def _listen(host: str, port: int) -> socket.socket:
    try:
        families = {found[0] for found in socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM)}
        family = socket.AF_INET if socket.AF_INET in families else socket.AF_INET6
        return socket.create_server((host, port), family=family, backlog=512)
    except OSError as error:
        raise Unavailable(f"cannot listen at {host}:{port} ({error}): choose another with --port") from error
