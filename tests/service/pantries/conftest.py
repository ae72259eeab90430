from pathlib import Path

import pytest

from service.artifacts.folder import FolderStore
from service.pantries.registry import PantryRegistry
from service.settings import Settings


@pytest.fixture
def limits(tmp_path: Path) -> Settings:
    return Settings(_env_file=None, data_dir=tmp_path / "data", min_free_bytes=0, max_pantry_bytes=2**20)


@pytest.fixture
def store(limits: Settings) -> FolderStore:
    return FolderStore(limits.data_dir, limits)


@pytest.fixture
def registry(store: FolderStore, limits: Settings) -> PantryRegistry:
    return PantryRegistry(store, limits)
