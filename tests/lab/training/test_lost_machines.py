"""A training and a study on a cluster of which a machine, or the head, is lost: real Ray nodes, real images."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest
import yaml

from tests.lab.study.conftest import write_study
from tests.lab.training.machines import ENVIRONMENT
from tests.lab.training.recipes import FASHION_MNIST, LABEL_NAMES
from tests.live import ROOT
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
TIMEOUT = 250.0
STEPS = 600


class Machines:
    """Two machines of one CPU each, and a head, as processes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self.address = self._answer()

    def tell(self, word: str) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(word + "\n")
        self._process.stdin.flush()
        assert self._answer() == word

    def _answer(self) -> str:
        assert self._process.stdout is not None
        return self._process.stdout.readline().strip()


@pytest.fixture
def machines() -> Iterator[Machines]:
    command = [sys.executable, "-m", "tests.lab.training.machines", "2"]
    process = subprocess.Popen(
        command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    with process:
        yield Machines(process)
        assert process.stdin is not None
        process.stdin.close()
        assert process.wait(TIMEOUT) == 0


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    arguments = {"img_size": [28, 28], "patch_size": 7, "embed_dim": 32, "depth": 2, "num_heads": 2}
    model = {"architecture": "vit_tiny_patch16_224", "arguments": arguments, "mean": [0.286], "std": [0.353]}
    content = {
        "data": {"folder": str(FASHION_MNIST), "max_images": 1280},
        "model": {**model, "label_names": LABEL_NAMES},
        "training": {"epochs": 30, "batch_size": 64, "seed": 5, "max_steps": STEPS},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


@contextmanager
def command(out: Path, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A command, with its standard error in the file ``errors`` beside ``out``; killed at the end."""
    environment = os.environ | ENVIRONMENT | {"OMP_NUM_THREADS": "1"}
    with (
        (out.parent / "errors").open("wb") as errors,
        subprocess.Popen(
            [sys.executable, "-m", "soupsearch.cli.main", *arguments], cwd=ROOT, env=environment, stderr=errors
        ) as process,
    ):
        try:
            yield process
        finally:
            process.kill()


def training(recipe: Path, out: Path, address: str, *more: str) -> AbstractContextManager[subprocess.Popen[bytes]]:
    options = ["--workers", "2", "--device", "cpu", "--checkpoint-seconds", "0"]
    return command(out, "train", str(recipe), str(out), "--ray-address", address, *options, *more)


def told(out: Path) -> str:
    return " ".join((out.parent / "errors").read_text("utf-8", errors="replace").split())


def lost(address: str) -> str:
    return (
        f"error: the Ray cluster at {address} was lost: "
        "start one, then give the same command again; it goes on where it was"
    )


def steps(log: Path) -> int:
    return 10 * len(log.read_text("utf-8").splitlines()) if log.is_file() else 0


def test_a_lost_machine_is_waited_for(machines: Machines, recipe: Path, tmp_path: Path) -> None:
    out, log = tmp_path / "model", tmp_path / ".model.training" / "metrics.jsonl"
    with training(recipe, out, machines.address) as process:
        wait_until(lambda: steps(log) >= 20, timeout=TIMEOUT)
        machines.tell("lose")
        wait_until(lambda: "take 2 CPUs, but the cluster has 1: training waits" in told(out), timeout=TIMEOUT)
        assert process.poll() is None
        assert steps(log) < STEPS
        machines.tell("join")
        assert process.wait(TIMEOUT) == 0, told(out)
    assert steps(out / "metrics.jsonl") == STEPS


def test_a_lost_cluster_ends_it(machines: Machines, recipe: Path, tmp_path: Path) -> None:
    out, work = tmp_path / "model", tmp_path / ".model.training"
    endless = ["--set", "training.epochs=5000", "--set", "training.max_steps=100000"]
    with training(recipe, out, machines.address, *endless) as process:
        wait_until(lambda: steps(work / "metrics.jsonl") >= 20, timeout=TIMEOUT)
        machines.tell("end")
        assert process.wait(TIMEOUT) == 1
    assert told(out).endswith(lost(machines.address))
    assert (work / "checkpoint").is_file()
    assert not out.exists()


def test_a_lost_cluster_ends_a_study(machines: Machines, tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", lattice={"lower": -0.4, "upper": 1.4, "step": 0.2})
    out = tmp_path / "out"
    with command(out, "study", str(study), str(out), "--ray-address", machines.address) as process:
        wait_until(lambda: list(out.rglob("attacks/*/*.npz")), timeout=TIMEOUT)
        machines.tell("end")
        assert process.wait(TIMEOUT) == 1
    assert told(out).endswith(lost(machines.address))
    assert not (out / "report.html").exists()
