"""Any archive, recognised by its contents."""

from collections.abc import Generator, Iterator
from contextlib import closing
from enum import Enum
from functools import partial
from pathlib import Path

from service.archives.members import Limits, Member, Refusal
from service.archives.paths import is_junk
from service.archives.tar_members import tar_members
from service.archives.zip_members import zip_members
from service.errors import SoupsearchError, TooLarge, is_of_machine

_FOREIGN = {
    b"7z\xbc\xaf\x27\x1c": "7z",
    b"Rar!": "rar",
    b"BZh": "bzip2",
    b"\xfd7zXZ\x00": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
_REASONS = {"File is not a zip file": "it begins as a zip file but lacks its end: it is probably cut short"}
_TAR_MAGIC_AT = 257
_EMPTY_TAR = bytes(512)


class Format(Enum):
    """The supported kinds of archive."""

    ZIP = "zip"
    TAR = "tar"
    TAR_GZ = "tar.gz"


def sniff(path: Path, refusal: Refusal, known: str = "zip, tar and tar.gz") -> Format:
    """The format of the file at ``path``, by its first bytes.

    Raises ``refusal`` with code ``unknown_format`` if it is not supported; the message calls the
    supported ones ``known``.
    """
    with path.open("rb") as file:
        head = file.read(512)
    if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
        return Format.ZIP
    if head.startswith(b"\x1f\x8b"):
        return Format.TAR_GZ
    if head[_TAR_MAGIC_AT:].startswith(b"ustar") or head == _EMPTY_TAR:
        return Format.TAR
    found = next((f", not {name}" for magic, name in _FOREIGN.items() if head.startswith(magic)), "")
    raise refusal(f"the file is none of {known}{found}: pack it as one of them", code="unknown_format")


def read_members(path: Path, limits: Limits, refusal: Refusal) -> Iterator[Member]:
    """Members of the archive at ``path`` without junk, each checked before it is yielded.

    Raises TooLarge (``packed_too_large``, ``unpacked_too_large``, ``too_many_members``), or ``refusal`` with one of
    the codes ``unknown_format``, ``unsafe_path``, ``link_member``, ``special_member``, ``encrypted_member``,
    ``unsupported_compression``, ``duplicate_member`` and ``damaged_archive``; MemoryError, and OSError when the disk
    fails.
    """
    if path.stat().st_size > limits.packed_bytes:
        raise TooLarge(
            f"the archive has more than {limits.packed_bytes} bytes: send fewer or smaller files",
            code="packed_too_large",
        )
    with closing(_members(path, limits, refusal)) as members:
        while (member := _next(members, refusal)) is not None:
            if member.path and not is_junk(member.path):
                yield Member(member.path, member.kind, partial(_chunks, member, refusal))


def _members(path: Path, limits: Limits, refusal: Refusal) -> Generator[Member, None, None]:
    match sniff(path, refusal):
        case Format.ZIP:
            return zip_members(path, limits, refusal)
        case Format.TAR:
            return tar_members(path, limits, refusal, compressed=False)
        case Format.TAR_GZ:
            return tar_members(path, limits, refusal, compressed=True)


def _next(members: Iterator[Member], refusal: Refusal) -> Member | None:
    try:
        return next(members, None)
    except SoupsearchError:
        raise
    except Exception as error:
        if is_of_machine(error):
            raise
        raise _damaged(error, refusal) from error


def _chunks(member: Member, refusal: Refusal) -> Iterator[bytes]:
    chunks = member.chunks()
    while (chunk := _next_chunk(chunks, member, refusal)) is not None:
        yield chunk


def _next_chunk(chunks: Iterator[bytes], member: Member, refusal: Refusal) -> bytes | None:
    try:
        return next(chunks, None)
    except SoupsearchError:
        raise
    except Exception as error:
        if is_of_machine(error):
            raise
        raise _damaged(error, refusal, member.path) from error


def _damaged(error: Exception, refusal: Refusal, path: str | None = None) -> SoupsearchError:
    where = f" at its member {path!r}" if path else ""
    reason = _REASONS.get(str(error), str(error))
    return refusal(f"the archive is damaged{where} ({reason}): send it again, or pack it again", code="damaged_archive")
