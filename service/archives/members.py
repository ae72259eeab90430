"""What is common to the members of all archives: limits, safe paths, junk."""

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from service.errors import SoupsearchError, TooLarge

CHUNK_BYTES = 2**18
LONGEST_PATH = 1024
_JUNK_FOLDERS = frozenset({"__MACOSX"})
_JUNK_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")

Refusal = type[SoupsearchError]
"""The error that a refused archive raises: what the archive was meant to be decides it."""


class Kind(Enum):
    """What a member is."""

    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold, in bytes and members."""

    packed_bytes: int
    unpacked_bytes: int
    members: int


@dataclass
class Budget:
    """Bytes that may still be unpacked; counts what is read, whatever the headers promise."""

    limit: int
    spent: int = field(default=0)

    def spend(self, count: int) -> None:
        """Take ``count`` bytes off. Raises TooLarge when there are fewer left."""
        self.spent += count
        if self.spent > self.limit:
            raise TooLarge(
                f"the archive unpacks to more than {self.limit} bytes: send fewer or smaller files",
                code="unpacked_too_large",
            )


@dataclass(frozen=True)
class Member:
    """One file or folder of an archive.

    ``path`` is relative, with ``/`` between its parts and neither ``.`` nor ``..`` among them. ``chunks`` reads the
    contents once, before the next member is asked for.
    """

    path: str
    kind: Kind
    chunks: Callable[[], Iterator[bytes]]


def safe_path(name: str, refusal: Refusal) -> str:
    """``name`` as a relative path in Unicode's composed form (NFC) without ``.`` parts; empty for the archive's root.

    Raises ``refusal`` with code ``unsafe_path`` when it leads out of the archive or cannot be a file's name.
    """
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    leads_out = path.startswith("/") or _DRIVE.match(path) or ".." in parts
    if leads_out or _CONTROL.search(path) or len(path) > LONGEST_PATH or not _encodes(path):
        raise refusal(
            f"the archive's member {name[:200]!r} has an unsafe path: use relative paths without '..', "
            f"control characters or more than {LONGEST_PATH} characters",
            code="unsafe_path",
        )
    return "/".join(parts)


def _encodes(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_junk(path: str) -> bool:
    """Whether an operating system left this file or folder behind; such members are skipped."""
    parts = path.split("/")
    last = parts[-1]
    return bool(_JUNK_FOLDERS.intersection(parts)) or last in _JUNK_FILES or last.startswith("._")


class Register:
    """The paths met so far: refuses too many members and two of one path."""

    def __init__(self, limits: Limits, refusal: Refusal) -> None:
        self._limit = limits.members
        self._refusal = refusal
        self._files: set[str] = set()
        self._count = 0

    def enter(self, path: str, kind: Kind) -> None:
        """Note one member. Raises TooLarge (``too_many_members``) or the refusal (``duplicate_member``)."""
        self._count += 1
        if self._count > self._limit:
            raise TooLarge(
                f"the archive has more than {self._limit} members: send fewer files", code="too_many_members"
            )
        if kind is Kind.FOLDER:
            return
        if path in self._files:
            raise self._refusal(f"the archive has two members {path!r}: keep one of them", code="duplicate_member")
        self._files.add(path)
