"""Members of a zip archive."""

import io
import stat
import zipfile
from collections.abc import Generator, Iterator
from functools import partial
from pathlib import Path

from service.archives.guarded import GuardedFile
from service.archives.members import CHUNK_BYTES, ByteBudget, Kind, Limits, Member, Refusal, Register
from service.archives.paths import safe_path

_DIRECTORY_BYTES_A_MEMBER = 256
_LEAST_DIRECTORY_BYTES = 2**20
_ENCRYPTED = 0x1 | 0x40
_METHODS = frozenset({zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED})


def zip_members(path: Path, limits: Limits, refusal: Refusal) -> Generator[Member, None, None]:
    """Members of the zip archive at ``path``, in the order of its directory.

    Raises ``refusal`` for unsafe, special, encrypted, duplicate and otherwise compressed members, TooLarge beyond
    the limits, and the errors of zipfile for a damaged archive.
    """
    largest_read = max(_LEAST_DIRECTORY_BYTES, _DIRECTORY_BYTES_A_MEMBER * limits.members)
    budget = ByteBudget(limits.unpacked_bytes)
    register = Register(limits, refusal)
    with GuardedFile(io.FileIO(path), largest_read) as file, zipfile.ZipFile(file) as archive:
        for info in archive.infolist():
            member_path = safe_path(info.orig_filename, refusal)
            kind = _kind(info, refusal)
            register.enter(member_path, kind)
            yield Member(member_path, kind, partial(_chunks, archive, info, budget))


def _kind(info: zipfile.ZipInfo, refusal: Refusal) -> Kind:
    name = info.orig_filename[:200]
    file_type = stat.S_IFMT(info.external_attr >> 16)
    if file_type == stat.S_IFLNK:
        raise refusal(f"the archive's member {name!r} is a link: pack the file itself", code="link_member")
    if file_type not in {0, stat.S_IFREG, stat.S_IFDIR}:
        raise refusal(f"the archive's member {name!r} is not a regular file: leave it out", code="special_member")
    if info.flag_bits & _ENCRYPTED:
        raise refusal(
            f"the archive's member {name!r} is encrypted: pack it without a password", code="encrypted_member"
        )
    if info.compress_type not in _METHODS:
        raise refusal(
            f"the archive's member {name!r} is not compressed with deflate: pack it as plain zip",
            code="unsupported_compression",
        )
    return Kind.FOLDER if info.is_dir() or file_type == stat.S_IFDIR else Kind.FILE


def _chunks(archive: zipfile.ZipFile, info: zipfile.ZipInfo, budget: ByteBudget) -> Iterator[bytes]:
    with archive.open(info) as stream:
        while chunk := stream.read(CHUNK_BYTES):
            budget.spend(len(chunk))
            yield chunk
