"""Writes that the kernel refuses: past the process's limit of a file's size, and to a device that is always full."""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from service.artifacts.storage import full_disk_as_error
from service.artifacts.store import ArtifactStore
from service.errors import StorageFull
from service.settings import Settings

LIMIT = 4096
DIGEST = "a" * 64


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    root = tmp_path / "data"
    store = ArtifactStore(root, Settings(_env_file=None, data_dir=root, min_free_bytes=0))
    with store.staging() as folder:
        (folder / "model").write_bytes(b"earlier")
        store.commit_file(folder / "model", "models", DIGEST, ".safetensors")
    return store


def assert_only_the_earlier_artifact(store: ArtifactStore) -> None:
    files = [path for path in store.root.rglob("*") if path.is_file()]
    assert files == [store.model(DIGEST)]
    assert store.model(DIGEST).read_bytes() == b"earlier"
    assert list((store.root / "staging").iterdir()) == []


def test_an_upload_that_does_not_fit_is_storage_full_and_leaves_nothing(store: ArtifactStore) -> None:
    with pytest.raises(StorageFull) as caught, files_limited_to(LIMIT), store.staging() as folder:
        (folder / "upload").write_bytes(b"x" * (2 * LIMIT))

    assert caught.value.status == 507
    assert caught.value.code == "storage_full"
    assert_only_the_earlier_artifact(store)


def test_a_model_that_does_not_fit_is_storage_full_too(store: ArtifactStore) -> None:
    tensors = {"weight": np.zeros(LIMIT, np.float32)}

    with pytest.raises(StorageFull), files_limited_to(LIMIT), store.staging() as folder:
        save_file(tensors, folder / "model.safetensors")

    assert_only_the_earlier_artifact(store)


def test_no_space_left_is_storage_full(tmp_path: Path) -> None:
    with pytest.raises(StorageFull, match="full"), full_disk_as_error(tmp_path), Path("/dev/full").open("wb") as file:
        file.write(b"x")


def test_other_errors_stay_what_they_are(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError), full_disk_as_error(tmp_path):
        (tmp_path / "absent").read_bytes()
