"""Every process of docker-compose.yml, started by hand with its command and environment, runs a job for curl."""

import hashlib
import json
import os
import re
import secrets
import signal
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import psutil
import pytest

from soupsearch.embedded.redis import find_server
from tests.deploy.compose import ROOT, services
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

EXAMPLES = ROOT / "examples"
INGREDIENTS = ("linf", "l2", "l1", "nominal")
SEARCH = {"strategy": "grid", "lower": 0.0, "upper": 1.0, "step": 0.5}
PATIENCE = 240.0
STORE_BYTES = "100000000"
URL = "http://127.0.0.1:8000"
HEAD = "127.0.0.2"
"""In the place of 127.0.0.1 Ray would put the address of the machine."""


@contextmanager
def network() -> Iterator[list[str]]:
    """A network of its own with nothing but a loopback interface; gives the words that run a command in it."""
    ready = "ip link set lo up && echo ready && exec sleep infinity"
    holder = subprocess.Popen(
        ["unshare", "--net", "sh", "-c", ready], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
    )
    try:
        assert holder.stdout is not None
        if holder.stdout.readline() != b"ready\n":
            pytest.skip("a network namespace cannot be made: this needs root and iproute2")
        yield ["nsenter", f"--net=/proc/{holder.pid}/ns/net"]
    finally:
        holder.kill()
        holder.wait()


class Deployment:
    """The services as processes of this machine, in a network of their own and with state in ``folder``."""

    def __init__(self, folder: Path, inside: list[str]) -> None:
        self.folder = folder
        self.inside = inside
        self.processes: dict[str, subprocess.Popen[bytes]] = {}
        (folder / "data").mkdir()
        (folder / "bin").mkdir()
        (folder / "bin" / "valkey-server").symlink_to(find_server())
        token = folder / "token"
        token.write_text(secrets.token_hex(32))
        self._replaced = {
            "ray-head": HEAD,
            "//redis": "//127.0.0.1",
            "/run/ray/token": str(token),
            "/data": str(folder / "data"),
        }
        self._changed = {
            "PATH": f"{folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        }

    def command(self, name: str) -> list[str]:
        service = services()[name]
        words = [*service.get("entrypoint", []), *service["command"]] if "command" in service else ["soupsearch", name]
        return [self._here(word) for word in words]

    def environment(self, name: str) -> dict[str, str]:
        given = services()[name].get("environment", {})
        own = {key: value for key, value in os.environ.items() if not key.startswith("RAY_")}  # of another test's Ray
        return own | {key: self._here(str(value)) for key, value in given.items()} | self._changed

    def start(self, name: str, *more: str) -> None:
        with (self.folder / f"{name}.log").open("wb") as log:
            self.processes[name] = subprocess.Popen(
                [*self.inside, *self.command(name), *more],
                env=self.environment(name),
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def is_healthy(self, name: str) -> bool:
        """Whether the health check of the service passes."""
        self.check_alive()
        test = [self._here(word) for word in services()[name]["healthcheck"]["test"][1:]]
        run = subprocess.run(
            [*self.inside, *test], env=self.environment(name), cwd=self.folder, capture_output=True, check=False
        )
        return run.returncode == 0

    def check_alive(self) -> None:
        for name, process in self.processes.items():
            assert process.poll() is None, f"{name} ended with {process.poll()}: {self.log(name)[-3000:]}"

    def has_joined(self, name: str) -> bool:
        """Whether a Ray node is up."""
        self.check_alive()
        return "Ray runtime started" in self.log(name)

    def job(self, url: str) -> dict[str, Any]:
        """A job, while all services live."""
        self.check_alive()
        return dict(json.loads(self.curl(url)))

    def log(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def family(self, *names: str) -> list[psutil.Process]:
        roots = [psutil.Process(self.processes[name].pid) for name in names or self.processes]
        return [process for root in roots for process in (root, *root.children(recursive=True))]

    def end(self, name: str) -> int:
        """Ask a service to end, as ``docker compose stop`` does, and return its exit code."""
        process, family = self.processes[name], self.family(name)
        process.send_signal(signal.SIGTERM)
        _, alive = psutil.wait_procs(family, timeout=60)
        assert alive == [], self.log(name)[-3000:]
        return process.wait()

    def curl(self, *arguments: str) -> str:
        command = [*self.inside, "curl", "-sS", "--fail-with-body", *arguments]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout

    def post(self, path: str, request: object, **files: Path) -> dict[str, Any]:
        forms = [part for name, file in files.items() for part in ("-F", f"{name}=@{file}")]
        return dict(
            json.loads(self.curl("-F", f"request={json.dumps(request)};type=application/json", *forms, URL + path))
        )

    def _here(self, word: str) -> str:
        word = re.sub(r"\$\{RAY_OBJECT_STORE_BYTES:-\d+\}|(?<=--object-store-memory=)\d+", STORE_BYTES, word)
        for there, here in self._replaced.items():
            word = word.replace(there, here)
        return word


@contextmanager
def running(folder: Path) -> Iterator[Deployment]:
    with ExitStack() as stack:
        deployment = Deployment(folder, stack.enter_context(network()))
        stack.callback(end_all, deployment)
        deployment.start("redis", "--dir", str(folder))
        wait_until(lambda: "Ready to accept connections" in deployment.log("redis"), timeout=PATIENCE)
        deployment.start("api")
        deployment.start("ray-head", f"--node-ip-address={HEAD}", f"--temp-dir={folder}/r")
        wait_until(lambda: deployment.is_healthy("ray-head"), timeout=PATIENCE, interval=1.0)
        for name, more in (("ray-worker", ["--num-cpus=2"]), ("worker", [])):
            deployment.start(name, *more)
            wait_until(partial(deployment.has_joined, name), timeout=PATIENCE)
        for name in ("api", "ray-worker", "worker"):
            wait_until(partial(deployment.is_healthy, name), timeout=PATIENCE, interval=1.0)
        yield deployment


def end_all(deployment: Deployment) -> None:
    family = deployment.family(*(name for name, process in deployment.processes.items() if process.poll() is None))
    for process in deployment.processes.values():
        process.terminate()
    _, alive = psutil.wait_procs(family, timeout=20)
    for survivor in alive:
        survivor.kill()
    for each in deployment.processes.values():
        each.wait()


@pytest.fixture(scope="module")
def deployment() -> Iterator[Deployment]:
    # Ray's sockets need a short path.
    folder = TemporaryDirectory(prefix="deploy-", dir="/tmp", ignore_cleanup_errors=True)
    with folder as name, running(Path(name)) as deployment:
        yield deployment


def test_a_job_runs_from_upload_to_download(deployment: Deployment) -> None:
    archive = deployment.folder / "pantry.tar"
    with tarfile.open(archive, "w") as content:
        for name in INGREDIENTS:
            content.add(EXAMPLES / "pantries" / "fashion-resnet" / name, name)
    pantry = deployment.post("/pantries", {"name": "fashion", "ingredients": INGREDIENTS}, pantry=archive)
    assert pantry["batch_norm"] is True

    images = EXAMPLES / "sets" / "fashion-low-contrast" / "adaptation.zip"
    accepted = deployment.post("/adapt", {"pantry": "fashion", "search": SEARCH}, adaptation_set=images)
    address = f"{URL}/jobs/{accepted['id']}"
    job = wait_until(
        lambda: (found := json.loads(deployment.curl(address)))["is_terminal"] and found, PATIENCE, interval=0.5
    )
    assert job["status"] == "succeeded", job["error"]
    assert job["attempt"] == 1
    assert job["progress"]["done"] == 10

    model = deployment.folder / "model.safetensors"
    deployment.curl("-o", str(model), f"{address}/model")
    assert hashlib.sha256(model.read_bytes()).hexdigest() == job["result"]["model"]["sha256"]


def test_without_the_token_the_cluster_answers_nobody(deployment: Deployment) -> None:
    environment = deployment.environment("ray-worker") | {"RAY_AUTH_TOKEN_PATH": "/nonexistent", "HOME": "/nonexistent"}
    command = [*deployment.inside, "ray", "health-check", "--address", f"{HEAD}:6380"]
    run = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "token" in run.stderr.lower()


def test_the_worker_ends_with_its_node_and_its_node_with_the_worker(deployment: Deployment) -> None:
    family = deployment.family("worker")
    node = next(process for process in family if process.name() == "raylet")
    node.kill()
    assert deployment.processes["worker"].wait(PATIENCE) == 1
    assert psutil.wait_procs(family, timeout=30)[1] == []

    deployment.start("worker")
    wait_until(lambda: deployment.has_joined("worker"), timeout=PATIENCE)
    wait_until(lambda: deployment.is_healthy("worker"), timeout=PATIENCE, interval=1.0)
    assert deployment.end("worker") == 0


def test_services_end_when_they_are_asked_to(deployment: Deployment) -> None:
    assert deployment.end("api") in {0, -signal.SIGTERM}
    assert deployment.end("redis") == 0
