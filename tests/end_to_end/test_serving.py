"""The embedded service: what it listens on, what it leaves behind, how it goes on after a fault."""

import json
import os
import signal
import socket
import sys
from pathlib import Path

import httpx2
import psutil
import pytest

from tests.live import ROOT, LiveService, live_service
from tests.processes import listening
from tests.waiting import wait_until

ADAPTATION_SET = ROOT / "examples/sets/fashion-rotation/adaptation.zip"


def listening_addresses(service: LiveService) -> set[str]:
    return listening([service.process.pid, *(each.pid for each in service.descendants())])


def test_nothing_listens_beyond_localhost(service: LiveService) -> None:
    assert listening_addresses(service) <= {"127.0.0.1", "::1", "::ffff:127.0.0.1"}


NAMESAKES = ("service", "search", "workers", "soupsearch", "lab", "torch", "timm", "ray", "redis", "numpy")
MAX_LOG_BYTES = 500


def folder_of_namesakes(folder: Path) -> Path:
    """Packages named like those that the service imports; one that is imported leaves a file ``imported``."""
    for name in NAMESAKES:
        package = folder / name
        package.mkdir(parents=True)
        lines = ["import pathlib, sys", "pathlib.Path(__file__).with_name('imported').write_text(repr(sys.argv))"]
        (package / "__init__.py").write_text("\n".join(lines))
    return folder


@pytest.mark.slow
def test_a_job_survives_the_api_and_nothing_is_left_after_a_stop(tmp_path: Path) -> None:
    """Where the user stands in a folder full of namesakes, too, and logs may hold little."""
    folder, script = folder_of_namesakes(tmp_path / "stand"), Path(sys.executable).with_name("soupsearch")
    with live_service(tmp_path / "data", command=[script], folder=folder, max_log_bytes=str(MAX_LOG_BYTES)) as service:
        added = service.cli("pantry", "add", "fashion", ROOT / "examples/pantries/fashion-resnet", "--url", service.url)
        assert added.returncode == 0, added.stderr
        job_id = service.cli("adapt", ADAPTATION_SET, "--pantry", "fashion", "--no-wait").stdout.strip()
        api = next(process for process in service.descendants() if "api" in process.cmdline()[3:5])
        os.kill(api.pid, signal.SIGKILL)
        job = wait_until(lambda: finished(service, job_id), timeout=240)
        assert job["status"] == "succeeded"
        assert [path.read_text() for path in folder.rglob("imported")] == []
        logs = [service.data_dir / "logs" / name for name in ("api.log", "worker.log", "ray.log")]
        redis_log = service.data_dir / "redis" / "redis.log"
        wait_until(lambda: all(path.stat().st_size <= MAX_LOG_BYTES for path in (*logs, redis_log)))
        rotated = [path.with_name(f"{path.name}.1") for path in (logs[-1], redis_log)]
        assert [path.stat().st_size for path in rotated] == [MAX_LOG_BYTES] * 2
        family = service.descendants()
    gone, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, [process.cmdline() for process in alive]
    assert len(gone) == len(family)


def finished(service: LiveService, job_id: str) -> dict[str, object] | None:
    try:
        job = httpx2.get(f"{service.url}/jobs/{job_id}", timeout=30).json()
    except (httpx2.TransportError, json.JSONDecodeError):
        return None
    return dict(job) if job["is_terminal"] else None


def test_a_taken_port_is_an_error_that_says_so(service: LiveService, tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        run = service.cli("serve", "--port", port, "--data-dir", tmp_path / "other")
    assert run.returncode == 1
    assert "--port" in run.stderr


def test_a_second_service_on_the_same_data_is_refused(service: LiveService) -> None:
    run = service.cli("serve", "--port", "0", "--data-dir", service.data_dir)
    assert run.returncode == 1
    assert "SOUPSEARCH_DATA_DIR" in run.stderr


@pytest.mark.slow
def test_it_listens_where_the_host_says_in_ipv6_too(tmp_path: Path) -> None:
    with live_service(tmp_path / "data", host="::1") as service:
        assert service.url.startswith("http://[::1]:")
        assert httpx2.get(f"{service.url}/readyz", timeout=30).status_code == 200


@pytest.mark.slow
def test_it_ends_and_says_why_when_ray_dies(tmp_path: Path) -> None:
    with live_service(tmp_path / "data") as service:
        family = service.descendants()
        next(process for process in family if process.name() == "raylet").kill()
        assert service.process.wait(timeout=120) == 1
    _, alive = psutil.wait_procs(family, timeout=20)
    assert not alive, [process.cmdline() for process in alive]
    assert "ray.log" in (tmp_path / "data/serve.log").read_text().replace("\n", "")
