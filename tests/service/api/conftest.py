"""The API over HTTP, with one pantry of four ingredients."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from service.artifacts import open_store
from service.jobs.store import JobStore
from service.pantries.registry import PantryRegistry
from service.schemas.pantry import Pantry
from service.settings import Settings
from tests.driving import Driver
from tests.inputs import Part, image_zip, write_ingredient
from tests.serving import running_api

NAMES = ("linf", "l2", "l1", "nominal")

Post = Callable[..., httpx2.Response]


@pytest.fixture
def settings(settings: Settings) -> Settings:
    limits = {
        "port": 0,
        "max_upload_bytes": 200_000,
        "max_pantry_bytes": 400_000,
        "max_points": 1000,
        "max_passes": 10**7,
        "verify_timeout": 0.2,
    }
    return settings.model_copy(update=limits)


@pytest.fixture
def pantry(settings: Settings, tmp_path: Path) -> Pantry:
    registry = PantryRegistry(open_store(settings), settings)
    folders = {name: write_ingredient(tmp_path / name, seed) for seed, name in enumerate(NAMES)}
    return registry.add("fashion", folders, verify=lambda _: None)


@pytest.fixture
def api(settings: Settings, pantry: Pantry) -> Iterator[httpx2.Client]:
    with running_api(settings) as url, httpx2.Client(base_url=url, timeout=30) as client:
        yield client


@pytest.fixture
def adapt(api: httpx2.Client) -> Post:
    """POST /adapt with an upload; ``request`` is JSON text."""

    def post(request: str = '{"pantry": "fashion"}', archive: bytes | None = None, **options: Any) -> httpx2.Response:
        files: dict[str, Part] = {
            "request": (None, request, "application/json"),
            "adaptation_set": ("shifted.zip", image_zip() if archive is None else archive, "application/zip"),
        }
        return api.post("/adapt", files=files, **options)

    return post


@pytest.fixture
def driver(job_store: JobStore, settings: Settings) -> Driver:
    return Driver(job_store, settings)


@pytest.fixture
def files(settings: Settings) -> Callable[[str], list[str]]:
    """Names in one folder of the artifact store."""

    def names(kind: str) -> list[str]:
        folder = settings.data_dir / kind
        return sorted(path.name for path in folder.iterdir()) if folder.exists() else []

    return names


@pytest.fixture
def job_id(adapt: Post) -> str:
    answer = adapt()
    assert answer.status_code == 202
    return str(answer.json()["id"])
