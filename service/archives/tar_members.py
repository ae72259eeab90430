"""Members of a tar archive, plain or compressed by gzip."""

import gzip
import io
import tarfile
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path
from typing import IO, Any, BinaryIO, cast

from service.archives.guarded import ForwardStream
from service.archives.members import CHUNK_BYTES, ByteBudget, Kind, Limits, Member, Refusal, Register
from service.archives.paths import safe_path

_HEADER_BYTES_A_MEMBER = 4096
_PADDING_BYTES = 2**20


class TruncatedArchive(ValueError):
    """The archive ends before its end marker."""


def tar_members(path: Path, limits: Limits, refusal: Refusal, *, compressed: bool) -> Generator[Member, None, None]:
    """Members of the tar archive at ``path``, in its order.

    Raises ``refusal`` for unsafe, special and duplicate members, TooLarge beyond the limits, and the errors of
    tarfile and gzip for a damaged archive.
    """
    overhead = _HEADER_BYTES_A_MEMBER * limits.members + _PADDING_BYTES
    budget = ByteBudget(limits.unpacked_bytes)
    with _opened(path, compressed) as source:
        stream = ForwardStream(source, ByteBudget(limits.unpacked_bytes + overhead))
        with tarfile.open(fileobj=cast(IO[bytes], stream), mode="r:") as archive:
            yield from _members(archive, Register(limits, refusal), budget, refusal)
        _check_end(stream)


def _opened(path: Path, compressed: bool) -> BinaryIO:
    if compressed:
        return cast(BinaryIO, gzip.open(path, "rb"))
    return cast(BinaryIO, io.FileIO(path))


def _members(
    archive: tarfile.TarFile, register: Register, budget: ByteBudget, refusal: Refusal
) -> Generator[Member, None, None]:
    while (info := archive.next()) is not None:
        cast(Any, archive).members.clear()  # tarfile keeps every header it has read
        path = safe_path(info.name, refusal)
        kind = _kind(info, refusal)
        register.enter(path, kind)
        yield Member(path, kind, partial(_chunks, archive, info, budget))


def _kind(info: tarfile.TarInfo, refusal: Refusal) -> Kind:
    name = info.name[:200]
    if info.issym() or info.islnk():
        raise refusal(f"the archive's member {name!r} is a link: pack the file itself", code="link_member")
    if info.isdir():
        return Kind.FOLDER
    if not info.isreg() or info.sparse is not None or info.issparse():
        raise refusal(f"the archive's member {name!r} is not a regular file: leave it out", code="special_member")
    return Kind.FILE


def _chunks(archive: tarfile.TarFile, info: tarfile.TarInfo, budget: ByteBudget) -> Iterator[bytes]:
    stream = archive.extractfile(info)
    if stream is None:
        return
    left = info.size
    while left > 0:
        chunk = stream.read(min(CHUNK_BYTES, left))
        if not chunk:
            raise TruncatedArchive(f"{info.name!r} is cut short")
        budget.spend(len(chunk))
        left -= len(chunk)
        yield chunk


def _check_end(stream: ForwardStream) -> None:
    """Check for the real end, a block of zeros, because tarfile takes a broken header for it."""
    if stream.last_read != bytes(tarfile.BLOCKSIZE):
        raise TruncatedArchive("the archive is cut short or a header in it is broken")
    stream.drain()
