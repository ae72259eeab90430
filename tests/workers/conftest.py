"""What tests of the workers share: one local Ray, and arithmetic in one thread."""

from collections.abc import Iterator

import pytest
import torch

from workers.ray_runtime.cluster import LocalCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(cpus=4, object_store_bytes=200 * 2**20) as cluster:
        yield cluster


@pytest.fixture
def one_thread() -> Iterator[None]:
    """With more, sums may round otherwise from run to run; for results that are compared bit for bit."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
