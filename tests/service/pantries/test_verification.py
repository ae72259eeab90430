from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

import pytest
import redis

from service.artifacts import open_store
from service.connection import connect
from service.errors import InvalidPantry, Unavailable
from service.jobs.keys import Keys
from service.pantries.registry import PantryRegistry
from service.pantries.verification import answer_next, request_verification
from service.settings import Settings
from tests.service.pantries.checkpoints import pair
from tests.waiting import wait_until


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with connect(settings) as client:
        yield client


@pytest.fixture
def folder(settings: Settings) -> Path:
    folder = settings.data_dir / "staging" / "upload" / "pantry" / "linf"
    folder.mkdir(parents=True)
    return folder


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(1) as pool:
        yield pool


def answered(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, folder: Path, check: Callable[[Path], None]
) -> Future[None]:
    request = pool.submit(request_verification, client, settings, folder)
    assert answer_next(client, settings, check, 30)
    return request


def test_a_worker_is_shown_the_folder(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, folder: Path
) -> None:
    seen: list[Path] = []
    answered(pool, client, settings, folder, seen.append).result(30)
    assert seen == [folder]


def test_a_worker_may_mount_the_data_elsewhere(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "mounted").symlink_to(settings.data_dir)
    elsewhere = settings.model_copy(update={"data_dir": tmp_path / "mounted"})
    seen: list[Path] = []
    request = pool.submit(request_verification, client, settings, folder)
    assert answer_next(client, elsewhere, seen.append, 30)
    request.result(30)
    assert seen == [tmp_path / "mounted" / folder.relative_to(settings.data_dir)]


def test_a_refusal_reaches_the_user(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, folder: Path
) -> None:
    def refuse(_: Path) -> None:
        raise InvalidPantry("timm does not know it", param="pantry", code="unknown_architecture")

    with pytest.raises(InvalidPantry) as caught:
        answered(pool, client, settings, folder, refuse).result(30)
    assert (caught.value.code, caught.value.param) == ("unknown_architecture", "pantry")
    assert caught.value.detail == "timm does not know it"


def test_a_check_that_breaks_is_answered(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, folder: Path
) -> None:
    def fail(_: Path) -> None:
        raise RuntimeError("out of memory")

    with pytest.raises(Unavailable) as caught:
        answered(pool, client, settings, folder, fail).result(30)
    assert caught.value.code == "check_failed"
    assert "out of memory" not in caught.value.detail


def test_a_worker_without_the_files_says_so(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, folder: Path
) -> None:
    folder.rmdir()
    with pytest.raises(Unavailable) as caught:
        answered(pool, client, settings, folder, lambda _: None).result(30)
    assert caught.value.code == "check_failed"
    assert "SOUPSEARCH_DATA_DIR" in caught.value.detail


def test_without_a_worker_the_request_ends_and_is_withdrawn(
    client: redis.Redis, settings: Settings, folder: Path
) -> None:
    hurried = settings.model_copy(update={"verify_timeout": 0.05})
    with pytest.raises(Unavailable) as caught:
        request_verification(client, hurried, folder)
    assert (caught.value.code, caught.value.status) == ("no_worker", 503)
    assert client.llen(Keys(settings.redis_prefix).checks) == 0


def test_without_a_request_the_worker_goes_on(client: redis.Redis, settings: Settings) -> None:
    assert answer_next(client, settings, lambda _: None, 0.05) is False


def test_requests_are_answered_in_order_and_leave_nothing(
    client: redis.Redis, settings: Settings, folder: Path
) -> None:
    folders = [folder.parent / name for name in ("a", "b", "c")]
    keys = Keys(settings.redis_prefix)
    seen: list[Path] = []
    with ThreadPoolExecutor(3) as pool:
        requests = []
        for count, each in enumerate(folders, 1):
            each.mkdir()
            requests.append(pool.submit(request_verification, client, settings, each))
            wait_until(lambda count=count: client.llen(keys.checks) == count)
        for _ in folders:
            assert answer_next(client, settings, seen.append, 30)
        for request in requests:
            request.result(30)
    assert seen == folders
    assert client.keys(f"{settings.redis_prefix}:check*") == []


def test_a_pantry_is_stored_after_a_workers_check(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, tmp_path: Path
) -> None:
    registry = PantryRegistry(open_store(settings), settings)
    added = pool.submit(
        registry.add, "tiny", pair(tmp_path), lambda folder: request_verification(client, settings, folder)
    )
    seen: list[str] = []
    assert answer_next(client, settings, lambda folder: seen.append(folder.name), 30)
    assert added.result(30).name == "tiny"
    assert seen == ["linf"]
