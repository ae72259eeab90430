"""Members of any kind of archive, and the limits on them."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import Enum

from service.errors import SoupsearchError, TooLarge

CHUNK_BYTES = 2**18

Refusal = type[SoupsearchError]
"""The error for a refused archive; it depends on what the archive was meant to be."""


class Kind(Enum):
    """The kind of a member."""

    FILE = "file"
    FOLDER = "folder"


@dataclass(frozen=True)
class Limits:
    """How much an archive may hold, in bytes and members."""

    packed_bytes: int
    unpacked_bytes: int
    members: int


@dataclass
class ByteBudget:
    """Bytes that may still be unpacked; counts bytes actually read, whatever the headers promise."""

    limit: int
    spent: int = field(default=0)

    def spend(self, count: int) -> None:
        """Subtract ``count`` bytes. Raises TooLarge if fewer are left."""
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


class Register:
    """The paths seen so far; refuses too many members, and two with the same path."""

    def __init__(self, limits: Limits, refusal: Refusal) -> None:
        self._limit = limits.members
        self._refusal = refusal
        self._files: set[str] = set()
        self._count = 0

    def enter(self, path: str, kind: Kind) -> None:
        """Add one member. Raises TooLarge (``too_many_members``) or the refusal (``duplicate_member``)."""
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
