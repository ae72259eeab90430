"""One training shared by several processes: the command, a private Ray, real images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.waiting import wait_until
from tests.workers.training.recipes import FASHION_MNIST, LABEL_NAMES

pytestmark = pytest.mark.slow
TIMEOUT = 400.0
WORKER = "RayTrainWorker"
TRAINING = {
    "epochs": 1,
    "batch_size": 64,
    "seed": 5,
    "max_steps": 20,
    "optimizer": {"learning_rate": 0.005},
    "augmentation": {"crop_padding": 2, "flip": True},
    "adversary": {"threats": ["Linf:0.1", "L2:1.5"], "mode": "eat", "attack": "apgd", "steps": 2},
}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A transformer's, whose batches are not coupled by BatchNorm, on attacks without random starts."""
    content = {
        "data": {"folder": str(FASHION_MNIST), "max_images": 1280},
        "model": {
            "architecture": "vit_tiny_patch16_224",
            "arguments": {"img_size": [28, 28], "patch_size": 7, "embed_dim": 32, "depth": 2, "num_heads": 2},
            "mean": [0.286],
            "std": [0.353],
            "label_names": LABEL_NAMES,
        },
        "training": TRAINING,
        "evaluation": {"threats": ["Linf:0.1"], "steps": 2, "images": 20},
    }
    path = tmp_path / "ingredient.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def command(recipe: Path, out: Path, *options: str) -> list[str]:
    program = [sys.executable, "-m", "workers.cli.main", "train", str(recipe), str(out)]
    return [*program, "--device", "cpu", "--threads", "1", "--checkpoint-seconds", "0", *options]


def train(recipe: Path, out: Path, *options: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command(recipe, out, *options), env=environment, capture_output=True, text=True, timeout=TIMEOUT, check=False
    )


def steps(log: Path) -> list[int]:
    return [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.is_file() else []


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    family = process.children(recursive=True)
    return [each for each in family if each.is_running() and WORKER in "".join(each.cmdline())]


def listening_addresses(process: psutil.Process) -> set[str]:
    connections = [each for child in process.children(recursive=True) for each in child.net_connections("inet")]
    return {each.laddr.ip for each in connections if each.status == psutil.CONN_LISTEN}


def assert_same(one: Path, other: Path) -> None:
    """Equal up to the order in which gradients are summed."""
    expected, weights = load_file(one / "model.safetensors"), load_file(other / "model.safetensors")
    assert expected.keys() == weights.keys()
    for name, tensor in expected.items():
        torch.testing.assert_close(weights[name], tensor, rtol=1e-3, atol=1e-4)


def test_shares_of_each_batch_train_what_one_process_trains(recipe: Path, tmp_path: Path) -> None:
    alone, shared = train(recipe, tmp_path / "alone"), train(recipe, tmp_path / "shared", "--workers", "2")
    assert (alone.returncode, shared.returncode) == (0, 0), shared.stderr
    assert_same(tmp_path / "alone", tmp_path / "shared")
    assert steps(tmp_path / "shared" / "metrics.jsonl") == [10, 20]
    assert "20/20 steps" in shared.stderr
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []
    again = train(recipe, tmp_path / "shared", "--workers", "2")
    assert again.returncode == 0, again.stderr


def test_a_killed_worker_is_replaced_and_a_killed_command_goes_on(recipe: Path, tmp_path: Path) -> None:
    longer = ["--set", "training.max_steps=300", "--set", "training.epochs=15"]
    log = tmp_path / ".killed.training" / "metrics.jsonl"
    with subprocess.Popen(command(recipe, tmp_path / "killed", *longer, "--workers", "2")) as process:
        family = psutil.Process(process.pid)
        wait_until(lambda: len(steps(log)) >= 2, timeout=TIMEOUT)
        dead = workers_of(family)
        assert len(dead) == 2
        assert listening_addresses(family) <= {"127.0.0.1", "::ffff:127.0.0.1"}
        dead[1].kill()
        before = steps(log)[-1]
        wait_until(lambda: steps(log)[-1] > before and set(workers_of(family)).isdisjoint(dead), timeout=TIMEOUT)
        left = family.children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(left, timeout=60)[1] == []
    for name in ("killed", "undisturbed"):
        ended = train(recipe, tmp_path / name, *longer)
        assert ended.returncode == 0, ended.stderr
    assert steps(tmp_path / "killed" / "metrics.jsonl") == list(range(10, 301, 10))
    assert_same(tmp_path / "undisturbed", tmp_path / "killed")


def test_mistakes_are_named(recipe: Path, tmp_path: Path) -> None:
    refused = train(recipe, tmp_path / "out", "--workers", "3")
    assert refused.returncode == 1
    assert "batch_size 64 does not divide by 3 workers" in " ".join(refused.stderr.split())
    unreachable = train(recipe, tmp_path / "out", "--workers", "2", "--ray-address", "127.0.0.1:1")
    assert unreachable.returncode == 1
    assert "no Ray cluster answers at 127.0.0.1:1" in " ".join(unreachable.stderr.split())
    assert not (tmp_path / "out").exists()
