"""What tests share: a real Redis server, and settings and a job store of their own for each test."""

import os
from collections.abc import Generator, Iterator
from pathlib import Path
from uuid import uuid4

import hypothesis
import pytest

from service.connection import connect
from service.jobs.store import JobStore
from service.settings import Settings
from soupsearch.embedded.cluster import LocalCluster
from soupsearch.embedded.redis import EmbeddedRedis
from tests.live import ROOT, LiveService, live_service

MAY_SKIP = os.environ.get("SOUPSEARCH_TESTS_MAY_SKIP", "yes") != "no"
"""Whether a test may be skipped where Fashion-MNIST or Chromium is not installed; continuous integration says no."""

hypothesis.settings.register_profile("soupsearch", deadline=None)
hypothesis.settings.load_profile("soupsearch")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    if report.skipped and not MAY_SKIP:
        report.outcome = "failed"
        report.longrepr = f"skipped although nothing may be: {report.longrepr}"
    return report


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with EmbeddedRedis(tmp_path_factory.mktemp("redis")) as server:
        yield server.url


@pytest.fixture
def settings(tmp_path: Path, redis_url: str) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        redis_url=redis_url,
        redis_prefix=f"test-{uuid4().hex[:12]}",
        min_free_bytes=0,
    )


@pytest.fixture
def job_store(settings: Settings) -> Iterator[JobStore]:
    with connect(settings) as client:
        yield JobStore(client, settings)


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveService]:
    """The whole service, for all tests that need one, with the shipped ResNet pantry as ``fashion``."""
    with live_service(tmp_path_factory.mktemp("live") / "data") as live:
        added = live.cli("pantry", "add", "fashion", ROOT / "examples/pantries/fashion-resnet", "--url", live.url)
        assert added.returncode == 0, added.stderr
        yield live


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    """One local Ray for all tests that need a cluster and leave it as it was."""
    with LocalCluster(cpus=4, object_store_bytes=200 * 2**20) as cluster:
        yield cluster


@pytest.fixture
def one_thread() -> Iterator[None]:
    """With more, sums may round otherwise from run to run; for results that are compared bit for bit."""
    import torch

    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
