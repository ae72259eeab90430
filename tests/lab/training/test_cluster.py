"""One training shared by several processes: the commands, a private Ray, real images."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
import torch
import yaml
from safetensors.torch import load_file

from tests.lab.training.recipes import FASHION_MNIST, LABEL_NAMES
from tests.live import ROOT
from tests.processes import heed_interrupts
from tests.waiting import wait_until

pytestmark = pytest.mark.slow
TIMEOUT = 250.0
WORKER = "RayTrainWorker"
TRAINING = {
    "epochs": 1,
    "batch_size": 64,
    "seed": 5,
    "max_steps": 20,
    "optimizer": {"learning_rate": 0.005},
    "augmentation": {"crop_padding": 2, "flip": True},
}
EAT = {"threats": ["Linf:0.1", "L2:1.5"], "mode": "eat", "attack": "apgd", "steps": 2}


@pytest.fixture
def recipe(tmp_path: Path) -> Path:
    """A transformer's, whose batches are not coupled by BatchNorm, on attacks without random starts."""
    content = {
        "name": "tiny",
        "data": {"folder": str(FASHION_MNIST), "max_images": 1280},
        "model": {
            "architecture": "vit_tiny_patch16_224",
            "arguments": {"img_size": [28, 28], "patch_size": 7, "embed_dim": 32, "depth": 2, "num_heads": 2},
            "mean": [0.286],
            "std": [0.353],
            "label_names": LABEL_NAMES,
        },
        "base": {"robust": {**TRAINING, "adversary": EAT}},
        "fine_tunes": {"nominal": TRAINING},
        "evaluation": {"threats": ["Linf:0.1"], "steps": 2, "images": 20},
    }
    path = tmp_path / "tiny.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def command(*arguments: str) -> list[str]:
    device = [] if "--device" in arguments else ["--device", "cpu"]
    options = [*device, "--threads", "1", "--checkpoint-seconds", "0"]
    return [sys.executable, "-m", "soupsearch.cli.main", *arguments, *options]


def run(folder: Path, *arguments: str, timeout: float = TIMEOUT) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command(*arguments), cwd=folder, env=environment, capture_output=True, text=True, timeout=timeout, check=False
    )


@contextmanager
def started(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The command, killed at the end."""
    with subprocess.Popen(command(*arguments), preexec_fn=heed_interrupts) as process:  # noqa: PLW1509 - has no threads
        try:
            yield process
        finally:
            process.kill()


def steps(log: Path) -> list[int]:
    return [json.loads(line)["step"] for line in log.read_text().splitlines()] if log.is_file() else []


def workers_of(process: psutil.Process) -> list[psutil.Process]:
    found = []
    for each in process.children(recursive=True):
        with suppress(psutil.Error):
            if WORKER in "".join(each.cmdline()):
                found.append(each)
    return found


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
    alone = run(tmp_path, "pantry", "build", recipe.name, "alone")
    shared = run(tmp_path, "pantry", "build", recipe.name, "shared", "--workers", "2")
    assert (alone.returncode, shared.returncode) == (0, 0), shared.stderr
    for name in ("robust", "nominal"):
        assert_same(tmp_path / "alone/tiny" / name, tmp_path / "shared/tiny" / name)
        assert steps(tmp_path / "shared/tiny" / name / "metrics.jsonl") == [10, 20]
    assert shared.stderr.count("20/20 steps") == 2
    assert sorted(path.name for path in (tmp_path / "shared/tiny").iterdir()) == ["nominal", "robust"]


def test_fine_tunes_share_a_cluster(recipe: Path, tmp_path: Path) -> None:
    """Two trainings at once; SIGKILL of the command ends both, and the same command ends as if one after the other."""
    content = yaml.safe_load(recipe.read_text())
    longer = {**TRAINING, "epochs": 2, "max_steps": 40}
    content["fine_tunes"] = {"nominal": longer, "robust-l2": {**longer, "adversary": {"threats": ["L2:1.5"]}}}
    recipe.write_text(yaml.safe_dump(content))
    build = ["pantry", "build", str(recipe)]
    with started(*build, str(tmp_path / "shared"), "--workers", "2", "--jobs", "2") as process:
        family = psutil.Process(process.pid)
        wait_until(lambda: len(workers_of(family)) == 4, timeout=TIMEOUT)
        left = family.children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(left, timeout=60)[1] == []
    shared = run(tmp_path, *build, "shared", "--workers", "2", "--jobs", "2", timeout=2 * TIMEOUT)
    alone = run(tmp_path, *build, "alone")
    assert (alone.returncode, shared.returncode) == (0, 0), shared.stderr
    for name in ("robust", "nominal", "robust-l2"):
        assert_same(tmp_path / "alone/tiny" / name, tmp_path / "shared/tiny" / name)
    assert sorted(path.name for path in (tmp_path / "shared/tiny").iterdir()) == ["nominal", "robust", "robust-l2"]


def test_a_killed_worker_is_replaced_and_a_killed_command_goes_on(recipe: Path, tmp_path: Path) -> None:
    longer = ["--set", "base.robust.max_steps=300", "--set", "base.robust.epochs=15"]
    arguments = ["train", str(recipe), str(tmp_path / "killed"), *longer]
    log = tmp_path / ".killed.training" / "metrics.jsonl"
    with started(*arguments, "--workers", "2") as process:
        family = psutil.Process(process.pid)
        wait_until(lambda: len(steps(log)) >= 2, timeout=TIMEOUT)
        dead = workers_of(family)
        assert len(dead) == 2
        assert listening_addresses(family) <= {"127.0.0.1", "::ffff:127.0.0.1"}
        dead[1].kill()
        before = max(steps(log))
        wait_until(lambda: max(steps(log), default=0) > before and not set(workers_of(family)) & set(dead), TIMEOUT)
        left = family.children(recursive=True)
        process.send_signal(signal.SIGKILL)
    assert psutil.wait_procs(left, timeout=60)[1] == []
    for name in ("killed", "undisturbed"):
        ended = run(tmp_path, "train", str(recipe), name, *longer)
        assert ended.returncode == 0, ended.stderr
    assert steps(tmp_path / "killed" / "metrics.jsonl") == list(range(10, 301, 10))
    assert_same(tmp_path / "undisturbed", tmp_path / "killed")
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith(".")] == []


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--workers", "3"], "batch_size 64 does not divide by 3 workers"),
        (["--workers", "2", "--ray-address", "127.0.0.1:1"], "no Ray cluster answers at 127.0.0.1:1"),
        (["--workers", "2", "--device", "cuda"], "2 workers take 2 GPUs, but the cluster has 0: lower --workers"),
    ],
)
def test_mistakes_are_named(recipe: Path, tmp_path: Path, options: list[str], message: str) -> None:
    refused = run(tmp_path, "train", recipe.name, "out", *options)
    assert refused.returncode == 1
    assert message in " ".join(refused.stderr.split())
    assert not (tmp_path / "out").exists()


def test_what_a_worker_finds_wrong_is_told(recipe: Path, tmp_path: Path) -> None:
    (tmp_path / ".out.training").mkdir()
    torch.save({"digest": "another", "state": {}}, tmp_path / ".out.training" / "checkpoint")
    refused = run(tmp_path, "train", recipe.name, "out", "--workers", "2")
    assert refused.returncode == 1
    assert "was left by a run with another recipe or other data" in " ".join(refused.stderr.split())


def test_an_interrupt_ends_it(recipe: Path, tmp_path: Path) -> None:
    longer = ["--set", "base.robust.max_steps=4000", "--set", "base.robust.epochs=200"]
    arguments = ["train", str(recipe), str(tmp_path / "out"), *longer, "--workers", "2"]
    with started(*arguments) as process:
        wait_until(lambda: steps(tmp_path / ".out.training" / "metrics.jsonl"), timeout=TIMEOUT)
        left = psutil.Process(process.pid).children(recursive=True)
        process.send_signal(signal.SIGINT)
        assert process.wait(TIMEOUT) == 130
    assert psutil.wait_procs(left, timeout=60)[1] == []
