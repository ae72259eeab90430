"""The artifact store, which keeps pantries, adaptation sets and merged models."""

import time
import weakref
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Self

from service.errors import NotFound, StorageFull
from service.settings import Settings

Kind = Literal["sets", "pantries", "models"]
KINDS: tuple[Kind, ...] = ("sets", "pantries", "models")

InUse = Mapping[Kind, Collection[str]]
"""Digests, by kind, of artifacts that something outside the store refers to."""


@dataclass(frozen=True)
class Entry:
    """An artifact as it was seen: ``put_at`` (ns since the epoch) grows with every ``put`` and ``renew``."""

    kind: Kind
    digest: str
    put_at: int


@dataclass(frozen=True)
class Name:
    """A name of an artifact, and data that belongs to the name rather than to the contents."""

    kind: Kind
    name: str
    digest: str
    document: str


class Artifact:
    """Local files of an artifact, for reading only, until ``close`` or until nothing refers to this object.

    The files may be mapped into memory; open or mapped files stay readable after ``close`` and after a deletion.
    """

    def __init__(self, path: Path, release: Callable[[], None] | None = None) -> None:
        self.path = path
        self._finalizer = weakref.finalize(self, release or _nothing)

    def close(self) -> None:
        """Let the store's cache drop the files. A second call does nothing."""
        self._finalizer()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ArtifactStore(ABC):
    """Artifacts by kind and digest, and names for them; any number of processes and threads share one store.

    An artifact is a small tree of files that never change. The caller chooses its digest, 64 hexadecimal digits: the
    sha256 of what identifies it. Two trees with one digest are interchangeable, and the first one stays.

    Readers find a whole artifact or none, even if a process is killed or stalls. Methods that write raise
    StorageFull if there is no room, and then change nothing. An invalid digest or name is treated as one that does
    not exist.

    Users of an artifact must refer to it, by a name in the store or outside it. ``sweep`` removes artifacts without
    references ``settings.staging_ttl`` seconds after their last ``put`` or ``renew``; take a reference within that
    time.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings

    @abstractmethod
    def staging(self) -> AbstractContextManager[Path]:
        """A new private local folder for an upload or an output, removed at the end with everything that was not put.

        Raises StorageFull as ``reserve`` does, and if any write in the block finds the disk full.
        """

    @abstractmethod
    def put(self, kind: Kind, digest: str, folder: Path) -> tuple[Entry, bool]:
        """Store the tree ``folder``, which lies in a staging folder and is moved out of it; durable on return.

        Returns the entry, and whether the artifact is new. An existing one is renewed.
        """

    @abstractmethod
    def open(self, kind: Kind, digest: str) -> Artifact:
        """The artifact's files in a local cache. Raises NotFound."""

    @abstractmethod
    def find(self, kind: Kind, digest: str) -> Entry | None:
        """The artifact's entry; None if it does not exist."""

    @abstractmethod
    def entries(self, kind: Kind) -> Sequence[Entry]:
        """All artifacts of a kind, by digest."""

    @abstractmethod
    def renew(self, kind: Kind, digest: str) -> bool:
        """Treat the artifact as just put; False if it does not exist."""

    @abstractmethod
    def delete(self, seen: Entry) -> bool:
        """Remove the artifact at once, unless it was put or renewed since ``seen``. Returns whether it was removed."""

    @abstractmethod
    def bind(self, name: Name) -> bool:
        """Give an artifact a permanent name; False if its kind already has that name. Durable on return."""

    @abstractmethod
    def unbind(self, name: Name) -> bool:
        """Remove a name; False if it does not exist or names another artifact."""

    @abstractmethod
    def resolve(self, kind: Kind, name: str) -> Name | None:
        """The record of a name."""

    @abstractmethod
    def names(self, kind: Kind) -> Sequence[Name]:
        """All names of a kind, sorted."""

    @abstractmethod
    def sweep_staging(self, before: float) -> int:
        """Remove staging folders that nobody has changed since ``before`` (s since the epoch); returns how many."""

    @abstractmethod
    def free_bytes(self) -> int:
        """The space that is left for writing."""

    @abstractmethod
    def check(self) -> None:
        """Raise Unavailable or OSError unless the store can be written to."""

    def exists(self, kind: Kind, digest: str) -> bool:
        """Whether the artifact exists."""
        return self.find(kind, digest) is not None

    def read(self, kind: Kind, digest: str, file: str) -> bytes:
        """One small file of an artifact. Raises NotFound."""
        with self.open(kind, digest) as artifact:
            try:
                return (artifact.path / file).read_bytes()
            except FileNotFoundError as error:
                raise NotFound(f"{kind}: {digest} does not exist, or has no {file}") from error

    def reserve(self, size: int = 0) -> None:
        """Raise StorageFull if writing ``size`` bytes would leave less than ``settings.min_free_bytes``."""
        free = self.free_bytes()
        if free - size < self.settings.min_free_bytes:
            raise StorageFull(
                f"{free} bytes are free, and {size} more would leave less than {self.settings.min_free_bytes}: delete "
                "old jobs, sets or pantries, or add disk space"
            )

    def sweep(self, in_use: InUse | None = None) -> int:
        """Remove abandoned staging folders, and artifacts that neither a name nor ``in_use`` refers to, once old.

        Without ``in_use``, removes only staging folders. Returns how many were removed.
        """
        before = time.time() - self.settings.staging_ttl
        removed = self.sweep_staging(before)
        for kind in KINDS if in_use is not None else ():
            unused = {entry.digest: entry for entry in self.entries(kind) if entry.put_at < before * 1e9}
            for digest in {*(in_use or {}).get(kind, ()), *(name.digest for name in self.names(kind))}:
                unused.pop(digest, None)
            removed += sum(self.delete(entry) for entry in unused.values())
        return removed


def _nothing() -> None:
    pass
