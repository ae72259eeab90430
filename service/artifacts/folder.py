"""The artifact store in a folder that API and workers share."""

import errno
import fcntl
import json
import os
import re
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from safetensors import SafetensorError
from typing_extensions import override

from service.artifacts.store import KINDS, Artifact, ArtifactStore, Entry, Kind, Name
from service.errors import NotFound, StorageFull, Unavailable
from service.settings import Settings

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}

_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class FolderStore(ArtifactStore):
    """Artifacts as folders below ``root``, which are their own cache: nothing is copied.

    Everything is written in a staging folder on the same file system, flushed, and renamed into place; removal is a
    rename too. The times of artifact folders are their entries' ``put_at``. Changes that depend on a comparison hold
    a file lock, which the kernel releases if the process dies.

    =================================  =====================================
    ``sets/<sha256>/``                 an artifact, and likewise ``pantries``, ``models``
    ``names/<kind>/<name>.json``       what a name stands for
    ``staging/``                       uploads and outputs in the making
    ``.lock``
    =================================  =====================================
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        super().__init__(settings)
        self.root = root.resolve()
        for kind in KINDS:
            (self.root / kind).mkdir(parents=True, exist_ok=True)
            (self.root / "names" / kind).mkdir(parents=True, exist_ok=True)
        (self.root / "staging").mkdir(exist_ok=True)

    @contextmanager
    @override
    def staging(self) -> Iterator[Path]:
        with full_disk_as_error():
            self.reserve()
            folder = self._staged()
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    @override
    def put(self, kind: Kind, digest: str, folder: Path) -> tuple[Entry, bool]:
        target = self._place(kind, digest)
        with full_disk_as_error():
            _sync_tree(folder)
            with self._locked():
                put_at = _renewed(folder)
                try:
                    folder.rename(target)
                except OSError:
                    if not target.is_dir():
                        raise
                    put_at = _renewed(target)
                else:
                    _sync(target.parent)
            is_new = not folder.exists()
            if not is_new:
                shutil.rmtree(folder, ignore_errors=True)
        return Entry(kind, digest, put_at), is_new

    @override
    def open(self, kind: Kind, digest: str) -> Artifact:
        path = self._place(kind, digest)
        if not path.is_dir():
            raise NotFound(f"{kind}: {digest} does not exist")
        return Artifact(path)

    @override
    def find(self, kind: Kind, digest: str) -> Entry | None:
        try:
            return Entry(kind, digest, self._place(kind, digest).stat().st_mtime_ns)
        except (NotFound, FileNotFoundError):
            return None

    @override
    def entries(self, kind: Kind) -> Sequence[Entry]:
        names = sorted(path.name for path in (self.root / kind).iterdir() if path.is_dir())
        return [entry for name in names if (entry := self.find(kind, name)) is not None]

    @override
    def renew(self, kind: Kind, digest: str) -> bool:
        with self._locked():
            try:
                _renewed(self._place(kind, digest))
            except (NotFound, FileNotFoundError):
                return False
        return True

    @override
    def delete(self, seen: Entry) -> bool:
        graveyard = self._staged()
        try:
            with self._locked():
                if self.find(seen.kind, seen.digest) != seen:
                    return False
                self._place(seen.kind, seen.digest).rename(graveyard / "artifact")
        finally:
            shutil.rmtree(graveyard, ignore_errors=True)
        return True

    @override
    def bind(self, name: Name) -> bool:
        target = self._binding(name.kind, name.name)
        with self.staging() as folder:
            staged = folder / "name"
            staged.write_text(json.dumps({"digest": name.digest, "document": name.document}), "utf-8")
            _sync(staged)
            with self._locked():
                if target.exists():
                    return False
                staged.rename(target)
                _sync(target.parent)
        return True

    @override
    def unbind(self, name: Name) -> bool:
        with self._locked():
            if self.resolve(name.kind, name.name) != name:
                return False
            target = self._binding(name.kind, name.name)
            target.unlink()
            _sync(target.parent)
        return True

    @override
    def resolve(self, kind: Kind, name: str) -> Name | None:
        try:
            stored = json.loads(self._binding(kind, name).read_text("utf-8"))
        except (NotFound, FileNotFoundError):
            return None
        return Name(kind, name, stored["digest"], stored["document"])

    @override
    def names(self, kind: Kind) -> Sequence[Name]:
        names = sorted(path.name.removesuffix(".json") for path in (self.root / "names" / kind).iterdir())
        return [known for name in names if (known := self.resolve(kind, name)) is not None]

    @override
    def sweep_staging(self, before: float) -> int:
        stale = [path for path in (self.root / "staging").iterdir() if _newest_change(path) < before]
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        return len(stale)

    @override
    def free_bytes(self) -> int:
        return shutil.disk_usage(self.root).free

    @override
    def check(self) -> None:
        if not os.access(self.root / "staging", os.W_OK):
            raise Unavailable("SOUPSEARCH_DATA_DIR cannot be written to: let the service's user own it")

    def _staged(self) -> Path:
        return Path(tempfile.mkdtemp(dir=self.root / "staging"))

    def _place(self, kind: Kind, digest: str) -> Path:
        if _DIGEST.fullmatch(digest) is None:
            raise NotFound(f"{digest!r} is not a sha256, which names {kind}")
        return self.root / kind / digest

    def _binding(self, kind: Kind, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            raise NotFound(f"{name!r} cannot be a name: use letters, digits, dots, dashes and underscores")
        return self.root / "names" / kind / f"{name}.json"

    @contextmanager
    def _locked(self) -> Iterator[None]:
        descriptor = os.open(self.root / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)


@contextmanager
def full_disk_as_error() -> Iterator[None]:
    """Convert "no space left" (also over quota, file too large) from any writer in the block to StorageFull."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        if not _is_full(error):
            raise
        msg = "the disk of SOUPSEARCH_DATA_DIR is full: free some space, delete old jobs, or move the folder"
        raise StorageFull(msg) from error


def _is_full(error: OSError | SafetensorError) -> bool:
    if isinstance(error, OSError):
        return error.errno in FULL
    # The Rust writer keeps no errno; its text names the operating system's code.
    return any(f"(os error {code})" in str(error) for code in FULL)


def _renewed(folder: Path) -> int:
    """Set a folder's time to now, but always later than before; returns it in ns since the epoch."""
    known = folder.stat()
    os.utime(folder, ns=(known.st_atime_ns, max(time.time_ns(), known.st_mtime_ns + 1)))
    return folder.stat().st_mtime_ns


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _sync_tree(folder: Path) -> None:
    for parent, _, files in os.walk(folder, topdown=False):
        for name in files:
            _sync(Path(parent, name))
        _sync(Path(parent))


def _newest_change(path: Path) -> float:
    times = [0.0]
    for each in [path, *path.rglob("*")]:
        with suppress(FileNotFoundError):
            times.append(each.stat(follow_symlinks=False).st_mtime)
    return max(times)
