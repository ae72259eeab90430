from pathlib import Path

import pytest

from service.artifacts.store import ArtifactStore
from service.pantries.registry import PantryRegistry
from service.settings import Settings


@pytest.fixture
def limits(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path / "data", min_free_bytes=0, max_pantry_bytes=2**20)


@pytest.fixture
def store(limits: Settings) -> ArtifactStore:
    return ArtifactStore(limits.data_dir, limits)


@pytest.fixture
def registry(store: ArtifactStore, limits: Settings) -> PantryRegistry:
    return PantryRegistry(store, limits)
