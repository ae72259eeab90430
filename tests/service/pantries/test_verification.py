from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
import redis
from safetensors import safe_open

from service.artifacts import open_store
from service.connection import connect
from service.errors import InvalidPantry, Unavailable
from service.jobs.keys import Keys
from service.pantries.registry import PantryRegistry
from service.pantries.verification import answer_next, request_verification
from service.settings import Settings
from tests.service.pantries.checkpoints import ingredient, pair, tensors
from tests.waiting import wait_until


@pytest.fixture
def client(settings: Settings) -> Iterator[redis.Redis]:
    with connect(settings) as client:
        yield client


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return ingredient(tmp_path / "upload" / "linf", tensors(0))


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


def test_a_worker_sees_configuration_names_and_shapes_without_the_file(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, folder: Path
) -> None:
    def check(shown: Path) -> None:
        assert shown != folder
        assert shown.name == "linf"
        assert (shown / "config.json").read_bytes() == (folder / "config.json").read_bytes()
        assert header_of(shown) == header_of(folder)
        seen.append(shown)

    seen: list[Path] = []
    answered(pool, client, settings, folder, check).result(30)
    (shown,) = seen
    assert not shown.exists()


def header_of(folder: Path) -> dict[str, tuple[str, list[int]]]:
    with safe_open(folder / "model.safetensors", framework="np") as file:
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118 - no iterator
        return {name: (each.get_dtype(), each.get_shape()) for name, each in slices.items()}


def test_a_refusal_names_the_ingredient_and_no_path(
    pool: ThreadPoolExecutor, client: redis.Redis, settings: Settings, folder: Path
) -> None:
    def refuse(shown: Path) -> None:
        raise ValueError(f"{shown}: timm does not know it")

    with pytest.raises(InvalidPantry, match=r"^ingredient 'linf': timm does not know it$"):
        answered(pool, client, settings, folder, refuse).result(30)


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
    folders = [ingredient(folder.parent / name, tensors(0)) for name in ("a", "b", "c")]
    keys = Keys(settings.redis_prefix)
    seen: list[str] = []

    def are_waiting(count: int) -> bool:
        return client.llen(keys.checks) == count

    with ThreadPoolExecutor(3) as pool:
        requests = []
        for count, each in enumerate(folders, 1):
            requests.append(pool.submit(request_verification, client, settings, each))
            wait_until(partial(are_waiting, count))
        for _ in folders:
            assert answer_next(client, settings, lambda shown: seen.append(shown.name), 30)
        for request in requests:
            request.result(30)
    assert seen == ["a", "b", "c"]
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
