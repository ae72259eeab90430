"""A real ``soupsearch serve`` for tests."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil

from service.parent_death import die_with_parent
from tests.waiting import wait_until

ROOT = Path(__file__).parents[1]
COMMAND = [sys.executable, "-m", "soupsearch.cli.main"]


@dataclass(frozen=True)
class LiveService:
    """A running service: where it is, its process and its data."""

    url: str
    process: subprocess.Popen[bytes]
    data_dir: Path
    environment: dict[str, str]

    def descendants(self) -> list[psutil.Process]:
        """All processes that the service started."""
        return psutil.Process(self.process.pid).children(recursive=True)

    def cli(self, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
        """Run the command line against this service."""
        environment = self.environment | {"SOUPSEARCH_URL": self.url, "COLUMNS": "160"}
        command = [*COMMAND, *map(str, arguments)]
        return subprocess.run(
            command, capture_output=True, text=True, env=environment, cwd=ROOT, check=False, timeout=300
        )


@contextmanager
def live_service(
    data_dir: Path, *, command: Sequence[str | Path] = COMMAND, folder: Path = ROOT, **settings: str
) -> Iterator[LiveService]:
    """Start the service in ``folder`` on a free port with its data in ``data_dir``, and stop it as Ctrl-C does."""
    data_dir.mkdir(parents=True, exist_ok=True)
    environment = os.environ | {f"SOUPSEARCH_{name.upper()}": value for name, value in settings.items()}
    environment |= {"SOUPSEARCH_DATA_DIR": str(data_dir)}
    log = data_dir / "serve.log"
    with log.open("wb") as output:
        process = subprocess.Popen(
            [*command, "serve", "--port", "0"],
            env=environment,
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            preexec_fn=partial(die_with_parent, os.getpid()),  # noqa: PLW1509 - a killed test run leaves no service
        )
    try:
        url = wait_until(lambda: _ready_url(process, log), timeout=150)
        yield LiveService(url, process, data_dir, environment)
    finally:
        process.send_signal(signal.SIGINT)
        try:
            process.wait(60)
        except subprocess.TimeoutExpired:
            process.kill()
            raise


def _ready_url(process: subprocess.Popen[bytes], log: Path) -> str | None:
    text = log.read_text(errors="replace")
    assert process.poll() is None, f"serve ended: {text}"
    found = re.search(r"ready at (\S+)", text)
    return found[1] if found else None
