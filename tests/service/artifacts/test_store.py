import os
import time
from pathlib import Path

import pytest

from service.artifacts.store import ArtifactStore
from service.errors import NotFound, StorageFull
from service.settings import Settings

DIGEST = "a" * 64
OTHER = "b" * 64


@pytest.fixture
def store(tmp_path: Path) -> ArtifactStore:
    root = tmp_path / "data"
    return ArtifactStore(root, Settings(_env_file=None, data_dir=root, min_free_bytes=0, staging_ttl=100))


def age(path: Path, seconds: float) -> None:
    changed = time.time() - seconds
    os.utime(path, (changed, changed))


def commit_model(store: ArtifactStore, digest: str, contents: bytes = b"weights") -> Path:
    with store.staging() as folder:
        staged = folder / "model"
        staged.write_bytes(contents)
        return store.commit_file(staged, "models", digest, ".safetensors")


def test_a_committed_file_is_where_lookups_say_and_staging_is_empty(store: ArtifactStore) -> None:
    path = commit_model(store, DIGEST)

    assert path == store.model(DIGEST)
    assert path.read_bytes() == b"weights"
    assert list((store.root / "staging").iterdir()) == []


def test_the_same_digest_again_keeps_the_file_and_makes_it_young(store: ArtifactStore) -> None:
    path = commit_model(store, DIGEST)
    age(path, 1000)

    commit_model(store, DIGEST)

    assert path.read_bytes() == b"weights"
    assert time.time() - path.stat().st_mtime < 100


def test_a_committed_folder_appears_whole_and_only_once(store: ArtifactStore) -> None:
    for contents, created in (("first", True), ("second", False)):
        with store.staging() as folder:
            staged = folder / "pantry"
            (staged / "linf").mkdir(parents=True)
            (staged / "linf" / "config.json").write_text(contents)
            assert store.commit_folder(staged, store.pantry("fashion")) is created

    assert (store.pantry("fashion") / "linf" / "config.json").read_text() == "first"
    assert store.pantries() == [store.pantry("fashion")]
    assert store.adaptation_sets() == []


def test_a_folder_goes_nowhere_but_into_the_store(store: ArtifactStore, tmp_path: Path) -> None:
    with store.staging() as folder, pytest.raises(ValueError, match="not a place"):
        store.commit_folder(folder, tmp_path / "elsewhere" / "folder")


def test_what_was_not_committed_is_gone_after_an_error(store: ArtifactStore) -> None:
    with pytest.raises(FileNotFoundError), store.staging() as folder:
        (folder / "absent").rename(folder / "upload")

    assert not folder.exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", ".hidden", "a\0b", "x" * 200])
def test_names_cannot_leave_the_store(store: ArtifactStore, name: str) -> None:
    with pytest.raises(NotFound):
        store.pantry(name)


def test_removing_takes_the_whole_artifact_and_says_whether_it_was_there(store: ArtifactStore) -> None:
    path = commit_model(store, DIGEST)

    assert store.remove(path) is True
    assert store.remove(path) is False
    assert not path.exists()
    assert list((store.root / "staging").iterdir()) == []


def test_a_sweep_takes_abandoned_uploads_and_leaves_those_still_growing(store: ArtifactStore) -> None:
    abandoned, growing = store.root / "staging" / "abandoned", store.root / "staging" / "growing"
    for folder in (abandoned, growing):
        folder.mkdir()
        (folder / "upload").write_bytes(b"part")
        age(folder, 1000)
    age(abandoned / "upload", 1000)

    assert store.sweep() == [abandoned]
    assert not abandoned.exists()
    assert (growing / "upload").exists()


def test_a_sweep_takes_old_models_that_no_job_names(store: ArtifactStore) -> None:
    kept, removed = commit_model(store, DIGEST), commit_model(store, OTHER)
    young = commit_model(store, "c" * 64)
    config = store.model_config(OTHER)
    config.write_text("{}")
    for path in (kept, removed, config):
        age(path, 1000)

    assert sorted(store.sweep({DIGEST})) == sorted([removed, config])
    assert kept.exists()
    assert young.exists()
    assert not removed.exists()


def test_uploads_are_refused_while_too_little_is_free(tmp_path: Path) -> None:
    settings = Settings(_env_file=None, data_dir=tmp_path, min_free_bytes=2**62)
    store = ArtifactStore(tmp_path, settings)

    with pytest.raises(StorageFull, match="bytes are free"), store.staging():
        pass
    assert list((store.root / "staging").iterdir()) == []
