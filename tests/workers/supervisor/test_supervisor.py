"""A supervisor as its own process. Its jobs here end, or never begin, without a Ray."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest

from service.connection import connect
from service.errors import InvalidPantry
from service.jobs.store import JobStore
from service.jobs.supervisors import SupervisorRegistry
from service.pantries.verification import request_verification
from service.schemas.job import Job, JobStatus
from service.settings import Settings
from soupsearch.embedded.redis import EmbeddedRedis
from tests.waiting import wait_until
from tests.workers.jobs.conftest import IMAGES, Bench, write_ingredient

pytestmark = pytest.mark.slow

PATIENCE = 600.0
NO_RAY = "127.0.0.1:9"
COMMAND = (
    "from service.settings import Settings; from workers.supervisor.loop import run; run(Settings(_env_file=None))"
)


@pytest.fixture
def bench(settings: Settings, job_store: JobStore, tmp_path: Path) -> Bench:
    changes = {"ray_address": NO_RAY, "max_attempts": 2, "verify_timeout": PATIENCE}
    bench = Bench(settings.model_copy(update=changes), job_store, tmp_path)
    bench.add_pantry()
    return bench


@contextmanager
def supervising(bench: Bench, **changes: object) -> Iterator[subprocess.Popen[bytes]]:
    environment = os.environ | bench.settings.model_copy(update=changes).environment()
    with bench.log.open("ab") as output:
        process = subprocess.Popen([sys.executable, "-c", COMMAND], env=environment, stdout=output, stderr=output)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def supervisor(bench: Bench) -> Iterator[subprocess.Popen[bytes]]:
    with supervising(bench) as process:
        yield process


@pytest.fixture
def silent_ray() -> Iterator[str]:
    """Address of a server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield f"127.0.0.1:{server.getsockname()[1]}"


def child_of(bench: Bench, supervisor: subprocess.Popen[bytes], job_id: str, attempt: int = 1) -> psutil.Process:
    """The process that runs an attempt at the job: the one that writes its log."""
    log = (bench.settings.data_dir / "logs" / f"{job_id}.{attempt}.log").resolve()

    def find() -> psutil.Process | None:
        children = psutil.Process(supervisor.pid).children()
        return next((child for child in children if Path(f"/proc/{child.pid}/fd/1").resolve() == log), None)

    return wait_until(find, timeout=PATIENCE)


def job_after(bench: Bench, job_id: str, status: JobStatus) -> Job:
    return wait_until(lambda: job if (job := bench.store.get(job_id)).status is status else None, timeout=PATIENCE)


def test_what_the_user_can_change_fails_the_job_at_once(bench: Bench, supervisor: subprocess.Popen[bytes]) -> None:
    job_id = bench.submit()
    bench.remove("sets", bench.store.get(job_id).request.adaptation_sets[0])
    job = job_after(bench, job_id, JobStatus.FAILED)
    assert job.error is not None
    assert (job.error.code, job.error.attempts, job.attempt) == ("set_not_found", [], 1)
    assert (bench.settings.data_dir / "logs" / f"{job_id}.1.log").is_file()


def test_attempts_that_fail_are_counted_with_their_reasons(bench: Bench, supervisor: subprocess.Popen[bytes]) -> None:
    adaptation_set = bench.add_set(IMAGES // 2)
    (bench.artifacts.open("sets", adaptation_set).path / "set.json").write_text("damaged")
    job = job_after(bench, bench.submit(adaptation_sets=[adaptation_set]), JobStatus.FAILED)
    assert job.error is not None
    assert (job.error.code, job.attempt) == ("attempts_exhausted", 2)
    assert len(job.error.attempts) == 2
    assert all("the job's process failed: " in reason for reason in job.error.attempts)
    assert not any("\n" in reason or ".py" in reason for reason in job.error.attempts)


def test_a_job_that_cannot_be_read_leaves_the_next_its_supervisor(
    bench: Bench, supervisor: subprocess.Popen[bytes]
) -> None:
    unreadable, next_id = bench.submit(), bench.submit()
    bench.remove("sets", bench.store.get(next_id).request.adaptation_sets[0])
    bench.store.redis.hset(bench.store.keys.job(unreadable), "request", "{}")
    assert job_after(bench, next_id, JobStatus.FAILED).attempt == 1
    status, failures = bench.store.redis.hmget(bench.store.keys.job(unreadable), ["status", "failed_attempts"])
    assert (status, failures) == ("failed", "2")
    assert supervisor.poll() is None


def test_a_killed_child_is_a_loss_and_no_failure(bench: Bench, silent_ray: str) -> None:
    with supervising(bench, ray_address=silent_ray, max_attempts=1, max_losses=2) as supervisor:
        job_id = bench.submit()
        child_of(bench, supervisor, job_id).kill()
        child_of(bench, supervisor, job_id, attempt=2).kill()
        job = job_after(bench, job_id, JobStatus.FAILED)
    assert job.error is not None
    assert job.error.code == "attempts_exhausted"
    assert job.error.message.startswith("2 attempts in a row were lost before they evaluated anything")
    assert job.error.attempts == [
        "attempt 1: the job's process was ended by SIGKILL",
        "attempt 2: the job's process was ended by SIGKILL",
    ]


def test_an_outage_of_ray_counts_as_no_attempt(bench: Bench, supervisor: subprocess.Popen[bytes]) -> None:
    job_id = bench.submit()
    wait_until(lambda: bench.store.get(job_id).attempt > bench.settings.max_attempts, timeout=PATIENCE)
    job = job_after(bench, job_id, JobStatus.QUEUED)
    (warning,) = job.warnings
    assert (warning.code, job.error) == ("ray_unavailable", None)
    assert NO_RAY in warning.message
    assert bench.store.cancel(job_id).status is JobStatus.CANCELLED


def test_a_redis_that_was_away_for_longer_than_a_lease_costs_no_attempt(
    bench: Bench, silent_ray: str, tmp_path: Path
) -> None:
    with EmbeddedRedis(tmp_path / "own") as server:
        settings = bench.settings.model_copy(update={"redis_url": server.url, "lease": 3.0})
        with connect(settings) as client:
            own = Bench(settings, JobStore(client, settings), bench.folder)
            with supervising(own, ray_address=silent_ray) as supervisor:
                job_id = own.submit()
                child = child_of(own, supervisor, job_id)
                held_until = client.zscore(own.store.keys.leases, job_id)
                assert held_until is not None
                server.kill()
                wait_until(lambda: 1000 * time.time() > held_until + 2000 * settings.lease)
                server.start()
                assert own.store.claim("another") is None
                wait_until(lambda: (client.zscore(own.store.keys.leases, job_id) or 0) > 1000 * time.time(), PATIENCE)
                job = own.store.get(job_id)
                assert (job.status, job.attempt, job.error) == (JobStatus.RUNNING, 1, None)
                assert child.is_running()


def test_a_job_cancelled_while_it_connects_to_ray_ends_before_ray_is_given_up(bench: Bench, silent_ray: str) -> None:
    with supervising(bench, ray_address=silent_ray) as supervisor:
        job_id = bench.submit()
        child = child_of(bench, supervisor, job_id)
        bench.store.cancel(job_id)
        job = job_after(bench, job_id, JobStatus.CANCELLED)
        wait_until(lambda: not child.is_running(), timeout=PATIENCE)
    assert (job.result, job.error, job.attempt) == (None, None, 1)
    assert job.warnings == []  # the process would have added one when it gave Ray up


def test_a_paused_job_leaves_its_supervisor_to_the_next(bench: Bench, silent_ray: str) -> None:
    with supervising(bench, ray_address=silent_ray) as supervisor:
        job_id, next_id = bench.submit(), bench.submit()
        child = child_of(bench, supervisor, job_id)
        bench.store.pause(job_id)
        child_of(bench, supervisor, next_id)
        assert not child.is_running()
        bench.store.resume(job_id)
        bench.store.cancel(next_id)
        child_of(bench, supervisor, job_id, attempt=2)
        job = bench.store.get(job_id)
        assert (job.status, job.error, job.warnings) == (JobStatus.RUNNING, None, [])


def test_a_supervisor_that_can_start_no_process_gives_the_job_back_and_lives(bench: Bench) -> None:
    logs = bench.settings.data_dir / "logs"
    logs.touch()
    with supervising(bench) as supervisor:
        job_id = bench.submit()
        wait_until(lambda: "cannot start a process for a job" in bench.log.read_text(), timeout=PATIENCE)
        assert bench.store.get(job_id).status is JobStatus.QUEUED
        logs.unlink()
        wait_until(lambda: logs.is_dir() and psutil.Process(supervisor.pid).children(), timeout=PATIENCE)
        wait_until(lambda: bench.store.get(job_id).attempt == 2, timeout=PATIENCE)


def test_the_process_of_the_next_job_stands_by(bench: Bench, silent_ray: str) -> None:
    with supervising(bench, ray_address=silent_ray) as supervisor:
        (standby,) = wait_until(lambda: psutil.Process(supervisor.pid).children(), timeout=PATIENCE)
        job_id = bench.submit()
        assert child_of(bench, supervisor, job_id) == standby
        bench.store.cancel(job_id)
        job_after(bench, job_id, JobStatus.CANCELLED)
        (another,) = wait_until(lambda: set(psutil.Process(supervisor.pid).children()) - {standby}, timeout=PATIENCE)
        another.kill()
        wait_until(lambda: another.status() == psutil.STATUS_ZOMBIE, timeout=PATIENCE)
        job_id = bench.submit()
        assert child_of(bench, supervisor, job_id) != another


def test_sigterm_gives_the_job_back_and_ends_its_child(bench: Bench, silent_ray: str) -> None:
    with supervising(bench, ray_address=silent_ray) as supervisor:
        job_id = bench.submit()
        child = child_of(bench, supervisor, job_id)
        supervisor.send_signal(signal.SIGTERM)
        assert supervisor.wait(timeout=60) == 0
        job = bench.store.get(job_id)
    assert (job.status, job.queue_position, job.error) == (JobStatus.QUEUED, 0, None)
    assert not child.is_running()


def test_a_killed_supervisor_takes_its_children_along(bench: Bench, silent_ray: str) -> None:
    with supervising(bench, ray_address=silent_ray) as supervisor:
        child_of(bench, supervisor, bench.submit())
        children = psutil.Process(supervisor.pid).children()
        supervisor.kill()
        supervisor.wait()
        gone, alive = psutil.wait_procs(children, timeout=60)
    assert (len(gone), alive) == (len(children), [])


def test_it_lives_and_checks_pantries(bench: Bench, supervisor: subprocess.Popen[bytes]) -> None:
    registry = SupervisorRegistry(bench.store.redis, bench.store.keys)
    assert wait_until(registry.live, timeout=PATIENCE) == 1
    staging = bench.settings.data_dir / "staging"
    request_verification(bench.store.redis, bench.settings, write_ingredient(staging / "good", 0, 0.1))
    bad = write_ingredient(staging / "bad", 0, 0.1)
    config = bad / "config.json"
    config.write_text(config.read_text().replace("vit_tiny_patch16_224", "vit_of_nobody"))
    with pytest.raises(InvalidPantry) as caught:
        request_verification(bench.store.redis, bench.settings, bad)
    assert caught.value.code == "unknown_architecture"
