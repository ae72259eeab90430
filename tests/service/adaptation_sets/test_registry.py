import json
from pathlib import Path

import pytest

from service.adaptation_sets.registry import SetRegistry
from service.adaptation_sets.stored import CONTENTS_FILE, DOCUMENT_FILE, StoredSet
from service.artifacts import open_store
from service.artifacts.folder import FolderStore
from service.errors import InUse, InvalidRequest, SetNotFound, StorageFull
from service.settings import Settings
from tests.service.adaptation_sets.pictures import files_below, picture, two_classes
from tests.service.archives.packing import pack
from tests.service.artifacts.deletions import allowed, refused


def test_a_set_is_found_by_its_id(registry: SetRegistry, tmp_path: Path) -> None:
    document = registry.add(pack(tmp_path / "a", two_classes()))
    assert registry.get(document.id) == document
    assert document.url == f"/adaptation-sets/{document.id}"
    assert document.bytes > sum(len(data) for data in two_classes().values())


def test_adding_again_keeps_the_first(registry: SetRegistry, tmp_path: Path) -> None:
    path = pack(tmp_path / "a", two_classes())
    first, new = registry.admit(path, None, lambda _: None)
    again, known = registry.admit(path, None, lambda _: None)
    assert first == again
    assert new is not None
    assert known is None
    assert path.exists()


def test_a_set_is_kept_out_by_whoever_checks_it(registry: SetRegistry, store: FolderStore, tmp_path: Path) -> None:
    def refuse(stored: StoredSet) -> None:
        assert len(stored) == len(list(stored.images())) == 4
        raise InvalidRequest("no")

    with pytest.raises(InvalidRequest):
        registry.admit(pack(tmp_path / "a", two_classes()), None, refuse)
    assert files_below(store.root) == []


def test_sets_are_listed_newest_first(registry: SetRegistry, tmp_path: Path) -> None:
    ids = [registry.add(pack(tmp_path / "a", two_classes() | {"cat/9.png": picture(seed)})).id for seed in (7, 8, 9)]
    assert [document.id for document in registry.list()] == ids[::-1]


def test_half_removed_sets_are_not_listed(registry: SetRegistry, store: FolderStore, tmp_path: Path) -> None:
    set_id = registry.add(pack(tmp_path / "a", two_classes())).id
    (store.root / "sets" / ("a" * 64)).mkdir()
    assert [document.id for document in registry.list()] == [set_id]


def test_a_set_in_use_stays(registry: SetRegistry, store: FolderStore, tmp_path: Path) -> None:
    set_id = registry.add(pack(tmp_path / "a", two_classes())).id
    with pytest.raises(InUse):
        registry.delete(set_id, refused)
    assert registry.get(set_id).id == set_id

    registry.delete(set_id, allowed)
    assert files_below(store.root) == []
    with pytest.raises(SetNotFound):
        registry.delete(set_id, allowed)


@pytest.mark.parametrize("set_id", ["a" * 64, "../pantries", "", "x/y"])
def test_unknown_ids_are_not_found(registry: SetRegistry, set_id: str) -> None:
    for call in (registry.get, registry.open):
        with pytest.raises(SetNotFound):
            call(set_id)


def test_another_process_reads_what_was_stored(registry: SetRegistry, settings: Settings, tmp_path: Path) -> None:
    document = registry.add(pack(tmp_path / "a", two_classes()), {"cat": 1, "dog": [0, 2]})
    other = SetRegistry(open_store(settings), settings)
    assert other.open(document.id).document == document
    assert other.open(document.id).contents.identity() == document.id


def test_a_set_stored_before_its_preprocessing_was_kept_is_read(
    registry: SetRegistry, store: FolderStore, tmp_path: Path
) -> None:
    document = registry.add(pack(tmp_path / "a", two_classes()))
    path = store.open("sets", document.id).path / DOCUMENT_FILE
    former = {name: value for name, value in json.loads(path.read_text()).items() if name != "precropped"}
    path.write_text(json.dumps(former))
    assert registry.open(document.id).document == document
    assert "precropped" not in json.loads((path.parent / CONTENTS_FILE).read_text())


def test_a_full_disk_refuses_before_anything_is_written(settings: Settings, tmp_path: Path) -> None:
    full = settings.model_copy(update={"min_free_bytes": 2**60})
    store = FolderStore(full.data_dir, full)
    with pytest.raises(StorageFull):
        SetRegistry(store, full).add(pack(tmp_path / "a", two_classes()))
    assert files_below(store.root) == []
