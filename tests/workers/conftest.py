"""One local Ray for all tests that need one."""

from collections.abc import Iterator

import pytest

from workers.ray_runtime.cluster import LocalCluster


@pytest.fixture(scope="session")
def cluster() -> Iterator[LocalCluster]:
    with LocalCluster(cpus=4, object_store_bytes=200 * 2**20) as cluster:
        yield cluster
