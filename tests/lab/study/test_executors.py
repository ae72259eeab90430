"""Where jobs run, and what is left when they are killed."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil
import pytest

from lab.study.cluster import RayTasks
from lab.study.executors import LocalProcesses, StudyExecutor
from lab.study.jobs import StudyJob
from service.errors import Unavailable
from soupsearch.embedded.cluster import LocalCluster
from tests.lab.study.conftest import TINY, MakeStudy, ThisProcess, run_of, write_study
from tests.live import COMMAND, ROOT
from tests.waiting import wait_until


def jobs_of(make_study: MakeStudy, out: Path) -> list[StudyJob]:
    """Some scoring and some attacks, on sets that are there."""
    run, _ = run_of(make_study(), out)
    sets = run.prepare()
    jobs = run.plan(run.config.pantries[0], sets["resnet"]).jobs
    return [*jobs[:3], *jobs[-3:]]


def same_results(executor: StudyExecutor, jobs: list[StudyJob]) -> bool:
    expected = {job.name: arrays for job, arrays in ThisProcess().run(jobs)}
    found = {job.name: arrays for job, arrays in executor.run(jobs)}
    assert found.keys() == expected.keys()
    return all(
        np.array_equal(found[name][key], expected[name][key], equal_nan=key == "logits")
        for name in found
        for key in expected[name]
    )


@pytest.mark.slow
def test_processes_compute_what_this_process_computes(make_study: MakeStudy, tmp_path: Path) -> None:
    assert same_results(LocalProcesses(2), jobs_of(make_study, tmp_path / "out"))
    assert list(LocalProcesses(2).run([])) == []


@pytest.mark.slow
def test_an_error_ends_the_study(make_study: MakeStudy, tmp_path: Path) -> None:
    jobs = jobs_of(make_study, tmp_path / "out")
    (tmp_path / "out/cache/sets").rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        list(LocalProcesses(1).run(jobs))


@pytest.mark.slow
def test_a_cluster_computes_what_this_process_computes(
    make_study: MakeStudy, tmp_path: Path, cluster: LocalCluster, capfd: pytest.CaptureFixture[str]
) -> None:
    assert same_results(RayTasks(cluster.address), jobs_of(make_study, tmp_path / "out"))
    assert "Traceback" not in capfd.readouterr().err


def start(study: Path, out: Path) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "soupsearch.cli.main", "study", str(study), str(out), "--workers", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", lattice={"lower": -0.4, "upper": 1.4, "step": 0.2})
    scores = tmp_path / "killed/cache"
    process = start(study, tmp_path / "killed")
    family = wait_until(lambda: len(list(scores.rglob("attacks/*/*.npz"))) >= 3 and _family(process), timeout=240)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(30)
    wait_until(lambda: not any(_alive(each) for each in family), timeout=30)
    before = {path: path.stat().st_mtime_ns for path in scores.rglob("[!.]*.npz")}
    for out in ("killed", "undisturbed"):
        again = start(study, tmp_path / out)
        _, errors = again.communicate(timeout=500)
        assert again.returncode == 0, errors
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    numbers = [json.loads((tmp_path / out / "numbers.json").read_text("utf-8")) for out in ("killed", "undisturbed")]
    assert numbers[0] == numbers[1]
    assert numbers[0]["study"]["lattice"] != TINY["lattice"]


@pytest.mark.slow
def test_an_error_on_a_cluster_ends_the_study(make_study: MakeStudy, tmp_path: Path, cluster: LocalCluster) -> None:
    jobs = jobs_of(make_study, tmp_path / "out")
    (tmp_path / "out/cache/sets").rename(tmp_path / "gone")
    with pytest.raises(FileNotFoundError):
        list(RayTasks(cluster.address).run(jobs))


@pytest.mark.slow
def test_a_driver_that_died_is_told(make_study: MakeStudy, tmp_path: Path, cluster: LocalCluster) -> None:
    results = RayTasks(cluster.address).run(jobs_of(make_study, tmp_path / "out"))
    next(results)
    [driver] = [each for each in psutil.Process().children() if "spawn_main" in " ".join(each.cmdline())]
    driver.kill()
    with pytest.raises(Unavailable, match="died: see that Ray runs on this machine"):
        list(results)


def _family(process: subprocess.Popen[bytes]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.slow
def test_a_cluster_without_a_gpu_is_told_at_once(make_study: MakeStudy, tmp_path: Path, cluster: LocalCluster) -> None:
    study, out = write_study(tmp_path / "study.yaml"), tmp_path / "out"
    command = [*COMMAND, "study", str(study), str(out), "--device", "cuda", "--ray-address", cluster.address]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 1
    assert f"the cluster at {cluster.address} has no GPU: use --device cpu" in told.stderr.replace("\n", " ")
