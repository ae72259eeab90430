"""What every artifact store must do; a test class of an implementation inherits it and says how to make one."""

import multiprocessing
import os
import resource
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing.synchronize import Event
from pathlib import Path

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from service.artifacts.store import KINDS, ArtifactStore, Entry, Kind, Name
from service.errors import NotFound, StorageFull
from service.settings import Settings
from tests.waiting import wait_until

DIGEST, OTHER, THIRD = ("a" * 64, "b" * 64, "c" * 64)
TREE = {"config.json": b"{}", "linf/model.safetensors": b"weights", "linf/config.json": b"1", "l2/empty": b""}
MANY = {f"part-{index % 7}/{index}": np.random.default_rng(index).bytes(2000) for index in range(200)}
LIMIT = 4096
ODD = ["", ".", "..", "../x", "a/b", ".hidden", "a\0b", "x" * 200]

Tree = dict[str, bytes]
MakeStore = Callable[[Settings], ArtifactStore]


def put(store: ArtifactStore, digest: str = DIGEST, tree: Tree = TREE, kind: Kind = "models") -> tuple[Entry, bool]:
    with store.staging() as folder:
        staged = folder / "artifact"
        for name, content in tree.items():
            (staged / name).parent.mkdir(parents=True, exist_ok=True)
            (staged / name).write_bytes(content)
        entry, is_new = store.put(kind, digest, staged)
        assert not staged.exists()
    return entry, is_new


def tree_of(store: ArtifactStore, digest: str = DIGEST, kind: Kind = "models") -> Tree:
    with store.open(kind, digest) as artifact:
        paths = [path for path in artifact.path.rglob("*") if path.is_file()]
        return {path.relative_to(artifact.path).as_posix(): path.read_bytes() for path in paths}


@contextmanager
def files_limited_to(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def put_and_delete_for_ever(make: MakeStore, settings: Settings, going: Event) -> None:
    """In a process that will be killed."""
    store = make(settings)
    while True:
        entry, _ = put(store, DIGEST, MANY)
        put(store, DIGEST, MANY)
        store.delete(entry)
        name = Name("models", "name", DIGEST, "x" * 5000)
        store.bind(name)
        store.unbind(name)
        store.delete(put(store, DIGEST, MANY)[0])
        going.set()


class ArtifactStoreConformance:
    """The properties of ``ArtifactStore``."""

    make: MakeStore
    """How to open the store that the settings describe: a function at the top of a module, for child processes."""

    @pytest.fixture
    def limits(self, tmp_path: Path) -> Settings:
        return Settings(_env_file=None, data_dir=tmp_path / "data", min_free_bytes=0, staging_ttl=100)

    @pytest.fixture
    def store(self, limits: Settings) -> ArtifactStore:
        return type(self).make(limits)

    @pytest.fixture
    def again(self, store: ArtifactStore, limits: Settings) -> ArtifactStore:
        """Another process's view."""
        return type(self).make(limits)

    @pytest.fixture
    def later(self, store: ArtifactStore, monkeypatch: pytest.MonkeyPatch) -> Callable[[float], None]:
        """Puts the clock forward by some seconds."""
        shift, now, now_ns = [0.0], time.time, time.time_ns
        monkeypatch.setattr(time, "time", lambda: now() + shift[0])
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + int(shift[0] * 1e9))

        def forward(seconds: float) -> None:
            shift[0] += seconds

        return forward

    # Putting, opening, deleting

    def test_what_was_put_is_opened_by_everybody(self, store: ArtifactStore, again: ArtifactStore) -> None:
        for kind in KINDS:
            entry, is_new = put(store, kind=kind)
            assert is_new
            assert (entry.kind, entry.digest) == (kind, DIGEST)
            for each in (store, again):
                assert tree_of(each, kind=kind) == TREE
                assert each.read(kind, DIGEST, "linf/model.safetensors") == b"weights"
                assert each.exists(kind, DIGEST)
                assert each.find(kind, DIGEST) == entry
                assert each.entries(kind) == [entry]

    def test_kinds_are_apart(self, store: ArtifactStore) -> None:
        put(store, kind="sets")
        assert not store.exists("models", DIGEST)
        assert store.entries("models") == []

    def test_the_first_of_one_digest_stays_and_is_renewed(self, store: ArtifactStore) -> None:
        first, _ = put(store)
        second, is_new = put(store, DIGEST, {"other": b""})
        assert not is_new
        assert second.put_at > first.put_at
        assert tree_of(store) == TREE
        assert store.entries("models") == [second]

    def test_what_is_not_there_is_not_found(self, store: ArtifactStore) -> None:
        for digest in (OTHER, "A" * 64, *ODD):
            assert not store.exists("sets", digest)
            assert store.find("sets", digest) is None
            assert not store.renew("sets", digest)
            with pytest.raises(NotFound):
                store.open("sets", digest)
            with pytest.raises(NotFound):
                store.read("sets", digest, "config.json")
        put(store)
        with pytest.raises(NotFound):
            store.read("models", DIGEST, "absent")

    @pytest.mark.parametrize("digest", ODD)
    def test_nothing_is_put_under_what_is_no_digest(self, store: ArtifactStore, digest: str) -> None:
        with pytest.raises(NotFound):
            put(store, digest)

    def test_a_deleted_artifact_is_gone_for_everybody(self, store: ArtifactStore, again: ArtifactStore) -> None:
        entry, _ = put(store)
        put(store, OTHER)
        assert store.delete(entry)
        assert not store.delete(entry)
        for each in (store, again):
            assert not each.exists("models", DIGEST)
            assert [known.digest for known in each.entries("models")] == [OTHER]
            with pytest.raises(NotFound):
                each.open("models", DIGEST)
        assert put(store)[1]

    @pytest.mark.parametrize("renew", [put, lambda store: store.renew("models", DIGEST)])
    def test_who_saw_an_artifact_before_it_was_wanted_again_cannot_delete_it(
        self, store: ArtifactStore, again: ArtifactStore, renew: Callable[[ArtifactStore], object]
    ) -> None:
        put(store)
        seen = again.find("models", DIGEST)
        assert seen is not None
        renew(store)
        assert not again.delete(seen)
        assert tree_of(store) == TREE
        entry = again.find("models", DIGEST)
        assert entry is not None
        assert again.delete(entry)

    def test_open_files_outlive_a_deletion(self, store: ArtifactStore) -> None:
        with store.staging() as folder:
            staged = folder / "artifact"
            staged.mkdir()
            save_file({"weight": np.arange(10_000)}, staged / "model.safetensors")
            entry, _ = store.put("models", DIGEST, staged)
        with (
            store.open("models", DIGEST) as artifact,
            safe_open(artifact.path / "model.safetensors", framework="np") as file,
        ):
            store.delete(entry)
            artifact.close()
            np.testing.assert_array_equal(file.get_tensor("weight"), np.arange(10_000))

    # Names

    def test_a_name_stands_for_one_artifact(self, store: ArtifactStore, again: ArtifactStore) -> None:
        name = Name("pantries", "fashion-1.0_x", DIGEST, '{"a": "ä"}')
        assert store.resolve("pantries", name.name) is None
        assert store.bind(name)
        assert not again.bind(Name("pantries", name.name, OTHER, ""))
        assert again.resolve("pantries", name.name) == name
        assert again.resolve("sets", name.name) is None
        assert not again.unbind(Name("pantries", name.name, OTHER, ""))
        assert again.unbind(name)
        assert not store.unbind(name)
        assert store.resolve("pantries", name.name) is None
        assert store.bind(name)

    def test_names_are_listed_in_order(self, store: ArtifactStore) -> None:
        names = [Name("pantries", each, DIGEST, each) for each in ("b", "a", "C")]
        for name in names:
            store.bind(name)
        assert [name.name for name in store.names("pantries")] == ["C", "a", "b"]
        assert set(store.names("pantries")) == set(names)
        assert store.names("sets") == []

    @pytest.mark.parametrize("name", ODD)
    def test_an_odd_name_is_not_there(self, store: ArtifactStore, name: str) -> None:
        assert store.resolve("pantries", name) is None
        assert not store.unbind(Name("pantries", name, DIGEST, ""))
        with pytest.raises(NotFound):
            store.bind(Name("pantries", name, DIGEST, ""))

    # Sweeps

    def test_a_sweep_takes_what_is_old_and_nothing_refers_to(
        self, store: ArtifactStore, again: ArtifactStore, later: Callable[[float], None]
    ) -> None:
        for kind in KINDS:
            for digest in (DIGEST, OTHER, THIRD):
                put(store, digest, kind=kind)
        store.bind(Name("pantries", "fashion", OTHER, ""))
        assert store.sweep({}) == 0
        later(101)
        assert store.sweep() == 0
        assert again.sweep({"sets": {THIRD}, "models": {DIGEST, OTHER}}) == 5
        left = {kind: [entry.digest for entry in store.entries(kind)] for kind in KINDS}
        assert left == {"sets": [THIRD], "pantries": [OTHER], "models": [DIGEST, OTHER]}

    @pytest.mark.parametrize("renew", [put, lambda store: store.renew("models", DIGEST)])
    def test_a_sweep_leaves_what_was_wanted_again_a_while_ago(
        self, store: ArtifactStore, later: Callable[[float], None], renew: Callable[[ArtifactStore], object]
    ) -> None:
        put(store)
        later(101)
        renew(store)
        later(50)
        assert store.sweep({}) == 0
        assert tree_of(store) == TREE

    def test_a_sweep_that_found_an_artifact_old_leaves_it_when_it_is_put_meanwhile(
        self,
        store: ArtifactStore,
        again: ArtifactStore,
        later: Callable[[float], None],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        put(store)
        later(101)
        delete = again.delete

        def delete_late(seen: Entry) -> bool:
            put(store)
            return delete(seen)

        monkeypatch.setattr(again, "delete", delete_late)
        assert again.sweep({}) == 0
        assert tree_of(store) == TREE

    def test_a_sweep_takes_abandoned_uploads_and_leaves_those_still_growing(
        self, store: ArtifactStore, later: Callable[[float], None]
    ) -> None:
        with store.staging() as abandoned, store.staging() as growing:
            (abandoned / "upload").write_bytes(b"part")
            later(101)
            (growing / "upload").write_bytes(b"part")
            now = time.time()
            os.utime(growing / "upload", (now, now))
            assert store.sweep() == 1
            assert not abandoned.exists()
            assert (growing / "upload").exists()

    # Several at once

    def test_one_of_many_writers_wins(self, store: ArtifactStore, limits: Settings) -> None:
        writers = 8
        start = threading.Barrier(writers)

        def write(index: int) -> tuple[bool, bool]:
            mine = type(self).make(limits)
            start.wait(timeout=60)
            is_new = put(mine, DIGEST, dict.fromkeys(MANY, b"%d" % index))[1]
            return is_new, mine.bind(Name("models", "name", DIGEST, str(index)))

        with ThreadPoolExecutor(writers) as pool:
            results = list(pool.map(write, range(writers)))
        assert [sum(column) for column in zip(*results, strict=True)] == [1, 1]
        winner = b"%d" % [is_new for is_new, _ in results].index(True)
        assert tree_of(store) == dict.fromkeys(MANY, winner)
        assert len(store.names("models")) == 1

    def test_an_artifact_put_while_others_delete_is_there_or_was_seen(
        self, store: ArtifactStore, limits: Settings
    ) -> None:
        rounds, over = 100, threading.Event()
        deleted: list[int] = []

        def delete() -> None:
            mine = type(self).make(limits)
            while not over.is_set():
                entry = mine.find("models", DIGEST)
                if entry is not None and mine.delete(entry):
                    deleted.append(entry.put_at)

        deleters = [threading.Thread(target=delete) for _ in range(2)]
        for thread in deleters:
            thread.start()
        try:
            stored = [put(store)[0].put_at for _ in range(rounds)]
        finally:
            over.set()
            for thread in deleters:
                thread.join(timeout=60)
        assert len(set(stored)) == rounds
        assert len(set(deleted)) == len(deleted)
        assert set(deleted) <= set(stored)
        assert store.exists("models", DIGEST) == (stored[-1] not in deleted)

    def test_readers_see_all_or_nothing(self, store: ArtifactStore, limits: Settings) -> None:
        over = threading.Event()

        def write() -> None:
            mine = type(self).make(limits)
            while not over.is_set():
                mine.delete(put(mine, DIGEST, MANY)[0])

        def read() -> bytes | None:
            try:
                return (store.open("models", DIGEST).path / "part-0/0").read_bytes()
            except (NotFound, FileNotFoundError):
                return None

        writer = threading.Thread(target=write)
        writer.start()
        try:
            for _ in range(20):
                assert wait_until(read, timeout=60, interval=0.0) == MANY["part-0/0"]
        finally:
            over.set()
            writer.join(timeout=60)

    @pytest.mark.parametrize("delay", [0.0, 0.01, 0.03, 0.05, 0.08, 0.13])
    def test_a_process_killed_at_any_time_leaves_nothing_half(
        self, store: ArtifactStore, limits: Settings, later: Callable[[float], None], delay: float
    ) -> None:
        context = multiprocessing.get_context("spawn")
        going = context.Event()
        target = partial(put_and_delete_for_ever, type(self).make, limits, going)
        process = context.Process(target=target, daemon=True)
        process.start()
        assert going.wait(timeout=60)
        process.join(timeout=delay)
        process.kill()
        process.join(timeout=60)

        if store.exists("models", DIGEST):
            assert tree_of(store) == MANY
        for name in store.names("models"):
            assert name.document == "x" * 5000
            assert store.unbind(name)
        assert put(store, DIGEST, MANY)[0] == store.find("models", DIGEST)
        later(101)
        store.sweep({})
        assert store.entries("models") == []

    # Full disks

    def test_an_upload_that_does_not_fit_is_storage_full_and_leaves_nothing(self, store: ArtifactStore) -> None:
        put(store)
        with pytest.raises(StorageFull) as caught, files_limited_to(LIMIT), store.staging() as folder:
            (folder / "upload").write_bytes(b"x" * (2 * LIMIT))
        assert (caught.value.status, caught.value.code) == (507, "storage_full")
        assert str(store.settings.data_dir) not in caught.value.detail
        assert not folder.exists()
        assert tree_of(store) == TREE

    def test_a_model_that_does_not_fit_is_storage_full_too(self, store: ArtifactStore) -> None:
        tensors = {"weight": np.zeros(LIMIT, np.float32)}
        with pytest.raises(StorageFull), files_limited_to(LIMIT), store.staging() as folder:
            save_file(tensors, folder / "model.safetensors")
        assert not folder.exists()

    def test_other_errors_stay_what_they_are(self, store: ArtifactStore) -> None:
        with pytest.raises(FileNotFoundError), store.staging() as folder:
            (folder / "absent").rename(folder / "upload")
        assert not folder.exists()

    def test_uploads_are_refused_while_too_little_is_free(self, limits: Settings) -> None:
        store = type(self).make(limits.model_copy(update={"min_free_bytes": 2**62}))
        with pytest.raises(StorageFull, match="bytes are free"), store.staging():
            pytest.fail("it was let in")

    def test_a_size_announced_counts(self, store: ArtifactStore) -> None:
        store.check()
        store.reserve(1)
        with pytest.raises(StorageFull):
            store.reserve(store.free_bytes() + 2**30)
