from pathlib import Path

import pytest

from service.adaptation_sets.registry import SetRegistry
from service.artifacts.folder import FolderStore
from service.settings import Settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        _env_file=None,
        data_dir=tmp_path / "data",
        min_free_bytes=0,
        max_upload_bytes=2**20,
        max_unpacked_bytes=2**21,
        max_images=120,
        max_image_pixels=64 * 64,
    )


@pytest.fixture
def store(settings: Settings) -> FolderStore:
    return FolderStore(settings.data_dir, settings)


@pytest.fixture
def registry(store: FolderStore, settings: Settings) -> SetRegistry:
    return SetRegistry(store, settings)
