"""Whether a cluster is still there."""

import socket

import pytest

from service.errors import Unavailable
from workers.ray_runtime.connection import LOOKS, ClusterWatch


def test_a_cluster_is_lost_when_it_does_not_answer_several_times_in_a_row() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        watch = ClusterWatch(f"127.0.0.1:{port}")
        assert watch.look()
    for _ in range(LOOKS - 1):
        assert not watch.look()
    with pytest.raises(Unavailable, match=rf"the Ray cluster at 127\.0\.0\.1:{port} was lost: start one"):
        watch.look()


def test_an_answer_in_between_counts_anew() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    watch = ClusterWatch(f"127.0.0.1:{port}")
    assert [watch.look() for _ in range(LOOKS - 1)] == [False] * (LOOKS - 1)
    with socket.create_server(("127.0.0.1", port)):
        assert watch.look()
    assert not watch.look()


def test_an_address_that_only_ray_can_follow_is_left_to_it() -> None:
    assert ClusterWatch("auto").look()
