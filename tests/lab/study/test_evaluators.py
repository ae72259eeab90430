"""The evaluators of a study: what they compute, and what is left when they, the study or the cluster are killed."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import psutil
import pytest

from lab.study.config import StudyConfig
from soupsearch.embedded.cluster import LocalCluster
from tests.lab.study.conftest import MakeStudy, files, run_of, write_study
from tests.live import COMMAND, ROOT
from tests.processes import heed_interrupts
from tests.waiting import wait_until

LARGE = {"lower": -0.5, "upper": 1.0, "step": 0.25}


def test_data_that_is_gone_ends_the_study(make_study: MakeStudy, tmp_path: Path) -> None:
    run, _ = run_of(make_study(), tmp_path / "out")
    [plan] = run.compute()
    for name in files(run):
        run.store.path(name).unlink()
    with pytest.raises(FileNotFoundError):
        run.evaluate(plan.jobs)


@contextmanager
def started(study: Path, out: Path, *options: str) -> Iterator[subprocess.Popen[str]]:
    """The command, with two evaluators of one thread; killed at the end."""
    command = [*COMMAND, "study", str(study), str(out), "--workers", "2", "--threads", "1", *options]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    with subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_interrupts,  # noqa: PLW1509 - has no threads yet
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def finished(study: Path, out: Path, *options: str) -> str:
    """What the command says on standard error, once it has written its report."""
    with started(study, out, *options) as process:
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
    assert "Traceback" not in errors
    return errors


def numbers(out: Path) -> object:
    return json.loads((out / "numbers.json").read_text("utf-8"))


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def evaluators(processes: list[psutil.Process]) -> list[psutil.Process]:
    return [each for each in processes if _alive(each) and "EvaluatorActor" in "".join(each.cmdline())]


def attacked(out: Path) -> bool:
    return len(list(out.glob("cache/attacks/*/[!.]*.npz"))) >= 3


def _alive(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


@pytest.mark.slow
@pytest.mark.usefixtures("one_thread")
def test_a_cluster_computes_what_this_process_computes_and_is_left_as_it_was(
    tmp_path: Path, cluster: LocalCluster
) -> None:
    study = write_study(tmp_path / "study.yaml")
    before = evaluators([psutil.Process(pid) for pid in cluster.pids])
    finished(study, tmp_path / "there", "--ray-address", cluster.address)
    there, _ = run_of(StudyConfig.load(study), tmp_path / "there")
    here, _ = run_of(StudyConfig.load(study), tmp_path / "here")
    here.compute()
    assert files(there) == files(here)
    for name in files(here):
        expected, found = here.store.read(name), there.store.read(name)
        assert found.keys() == expected.keys()
        assert all(np.array_equal(found[key], expected[key]) for key in expected), name
    wait_until(lambda: set(evaluators([psutil.Process(pid) for pid in cluster.pids])) <= set(before), timeout=60)


@pytest.mark.slow
def test_a_killed_study_goes_on_where_it_was_and_an_evaluator_that_dies_is_replaced(tmp_path: Path) -> None:
    study = write_study(tmp_path / "study.yaml", lattice=LARGE)
    killed, undisturbed = tmp_path / "killed", tmp_path / "undisturbed"
    with started(study, killed) as process:
        wait_until(lambda: attacked(killed), timeout=240)
        processes = family(process)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
        wait_until(lambda: not any(map(_alive, processes)), timeout=30)
    before = {path: path.stat().st_mtime_ns for path in killed.rglob("[!.]*.npz")}
    with started(study, killed) as process:
        first = wait_until(lambda: evaluators(family(process)), timeout=240)[0]
        wait_until(lambda: len(list(killed.rglob("[!.]*.npz"))) > len(before), timeout=240)
        first.kill()
        _, errors = process.communicate(timeout=500)
        assert process.returncode == 0, errors
    assert all(path.stat().st_mtime_ns == written for path, written in before.items())
    finished(study, undisturbed)
    assert numbers(killed) == numbers(undisturbed)


@pytest.mark.slow
@pytest.mark.parametrize(("sent", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_an_interrupted_study_ends_all_that_it_started(tmp_path: Path, sent: signal.Signals, code: int) -> None:
    study, out = write_study(tmp_path / "study.yaml", lattice=LARGE), tmp_path / "out"
    with started(study, out) as process:
        wait_until(lambda: attacked(out), timeout=240)
        processes = family(process)
        process.send_signal(sent)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == code
    assert all(line.startswith(("preparing images", "scoring soups")) for line in errors.strip().splitlines())
    wait_until(lambda: not any(map(_alive, processes)), timeout=30)


@pytest.mark.slow
@pytest.mark.parametrize("part", ["gcs_server", "raylet"])
def test_a_private_cluster_that_dies_is_told(tmp_path: Path, part: str) -> None:
    study, out = write_study(tmp_path / "study.yaml", lattice=LARGE), tmp_path / "out"
    with started(study, out) as process:
        wait_until(lambda: attacked(out), timeout=240)
        [killed] = [each for each in family(process) if each.name() == part]
        killed.kill()
        _, errors = process.communicate(timeout=120)
        assert process.returncode == 1
    assert "the local Ray died" in " ".join(errors.split())


@pytest.mark.slow
def test_a_cluster_without_a_gpu_is_told_at_once(tmp_path: Path, cluster: LocalCluster) -> None:
    study, out = write_study(tmp_path / "study.yaml"), tmp_path / "out"
    command = [*COMMAND, "study", str(study), str(out), "--device", "cuda", "--ray-address", cluster.address]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False)
    assert told.returncode == 1
    assert f"the cluster at {cluster.address} has no GPU: use --device cpu" in told.stderr.replace("\n", " ")
    assert not out.exists()
