from pathlib import Path

import pytest

from service.artifacts import open_store
from service.artifacts.folder import FolderStore, full_disk_as_error
from service.artifacts.store import ArtifactStore
from service.errors import StorageFull
from service.settings import Settings
from tests.service.artifacts.conformance import DIGEST, ArtifactStoreConformance, MakeStore, put


class TestFolderStore(ArtifactStoreConformance):
    make: MakeStore = open_store

    def test_it_is_the_store_of_the_settings(self, store: ArtifactStore) -> None:
        assert isinstance(store, FolderStore)

    def test_nothing_is_copied(self, store: ArtifactStore, limits: Settings) -> None:
        put(store)
        with store.open("models", DIGEST) as artifact:
            assert artifact.path == limits.data_dir / "models" / DIGEST
        assert artifact.path.exists()
        assert list((limits.data_dir / "staging").iterdir()) == []


def test_no_space_left_is_storage_full() -> None:
    with pytest.raises(StorageFull, match="full"), full_disk_as_error(), Path("/dev/full").open("wb") as file:
        file.write(b"x")
