"""The private Ray: where it listens, and that it ends."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from soupsearch.embedded import cluster
from tests.processes import is_alive, listening
from tests.waiting import wait_until

pytestmark = pytest.mark.slow

OWNER = """
import sys
from soupsearch.embedded.cluster import LocalCluster
with LocalCluster(cpus=1, object_store_bytes=100 * 2**20) as cluster:
    print(cluster.address, cluster.environment["RAY_AUTH_TOKEN_PATH"], *cluster.pids, flush=True)
    sys.stdin.read()
    head = cluster._process
print("head ended by signal", -min(head.returncode, 0))
"""
DRIVER = """
import sys
import ray
ray.init(address=sys.argv[1], log_to_driver=False)
print("connected", ray.cluster_resources()["CPU"])
"""
ACTOR = (
    DRIVER
    + """
@ray.remote
class Resident:
    def pid(self):
        import os
        return os.getpid()
resident = Resident.options(name="resident", namespace="tests", lifetime="detached").remote()
print("resident", ray.get(resident.pid.remote()))
"""
)


@pytest.fixture
def owner() -> subprocess.Popen[str]:
    return subprocess.Popen([sys.executable, "-c", OWNER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def started(owner: subprocess.Popen[str]) -> tuple[str, Path, list[int]]:
    assert owner.stdout is not None
    address, token, *pids = owner.stdout.readline().split()
    return address, Path(token), [int(pid) for pid in pids]


def alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if is_alive(pid)]


def driver(address: str, environment: dict[str, str], script: str = DRIVER) -> subprocess.CompletedProcess[str]:
    names = {"RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0"} | environment
    command = [sys.executable, "-c", script, address]
    return subprocess.run(command, env=os.environ | names, capture_output=True, text=True, timeout=300, check=False)


def test_it_listens_on_the_loopback_alone_and_wants_its_token(owner: subprocess.Popen[str]) -> None:
    address, token, pids = started(owner)
    try:
        assert address.startswith("127.0.0.1:")
        assert listening(pids) <= {"127.0.0.1", "::ffff:127.0.0.1"}
        assert token.stat().st_mode & 0o077 == 0
        secret = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}
        assert "connected 1.0" in driver(address, secret).stdout
        other = token.with_name("other")
        other.write_text("0" * 64)
        refused = driver(address, secret | {"RAY_AUTH_TOKEN_PATH": str(other)})
        assert refused.returncode != 0
        assert "connected" not in refused.stdout
    finally:
        owner.communicate("", timeout=120)
    assert alive(pids) == []
    assert not token.parent.exists()


def test_it_ends_without_force_while_an_actor_lives(owner: subprocess.Popen[str]) -> None:
    address, token, pids = started(owner)
    try:
        found = driver(address, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}, ACTOR)
        resident = re.search(r"^resident (\d+)$", found.stdout, re.MULTILINE)
        assert resident is not None, found.stderr
    finally:
        output, _ = owner.communicate("", timeout=120)
    assert output == "head ended by signal 0\n"
    assert alive([*pids, int(resident[1])]) == []


def test_it_ends_with_a_killed_owner(owner: subprocess.Popen[str]) -> None:
    _, _, pids = started(owner)
    assert len(alive(pids)) == len(pids) > 3
    owner.kill()
    owner.wait()
    wait_until(lambda: not alive(pids), timeout=120)
    assert alive(pids) == []


def test_what_an_earlier_head_printed_says_nothing_of_this_one(tmp_path: Path) -> None:
    log, written = tmp_path / "ray.log", tmp_path / "ray_current_cluster"
    log.write_text("Ray runtime started.\n")
    earlier = log.stat().st_size
    written.write_text("127.0.0.1:6379")
    assert cluster._address(cluster._since(log, earlier), written) == ""
    with log.open("a") as output:
        output.write("Ray runtime started.\n")
    assert cluster._address(cluster._since(log, earlier), written) == "127.0.0.1:6379"
