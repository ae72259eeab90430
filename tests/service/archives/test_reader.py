import gzip
import io
import stat
import struct
import tarfile
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from service.archives.members import Kind, Limits
from service.archives.reader import read_members
from service.errors import InvalidSet, SoupsearchError, TooLarge, is_of_machine
from tests.service.archives.failing import FAILURES, FailingFile, failures
from tests.service.archives.packing import FORMATS, pack, tar_of, tar_with, zip_of, zip_with

LIMITS = Limits(packed_bytes=2**20, unpacked_bytes=2**20, members=50)
FILES = {"cat/1.png": b"a" * 1000, "cat/2.png": b"b" * 512, "dog/1.png": b"c"}


def contents(path: Path, limits: Limits = LIMITS) -> dict[str, bytes]:
    members = read_members(path, limits, InvalidSet)
    return {member.path: b"".join(member.chunks()) for member in members if member.kind is Kind.FILE}


def refused(path: Path, limits: Limits = LIMITS) -> SoupsearchError:
    with pytest.raises(SoupsearchError) as caught:
        contents(path, limits)
    assert type(caught.value) in {InvalidSet, TooLarge}
    return caught.value


@pytest.mark.parametrize("form", FORMATS)
def test_all_members_are_read_in_order(tmp_path: Path, form: str) -> None:
    assert list(contents(pack(tmp_path / "a", FILES, form)).items()) == list(FILES.items())


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_what_the_machine_fails_to_read_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str, failure: Callable[[], Exception]
) -> None:
    path = pack(tmp_path / "a", FILES | {"dog/2.png": np.random.default_rng(0).bytes(100_000)}, form)

    def read(reads: int) -> None:
        with monkeypatch.context() as patch:
            patch.setattr("io.FileIO", lambda path: FailingFile(path, reads, failure))
            patch.setattr("gzip.open", lambda path, _: gzip.GzipFile(fileobj=FailingFile(path, reads, failure)))
            contents(path)

    errors = list(failures(read))
    assert len(errors) > 2
    assert {type(error) for error in errors if not is_of_machine(error)} == set()
    assert not any(isinstance(error, SoupsearchError) for error in errors)


@pytest.mark.parametrize("form", FORMATS)
def test_members_need_not_be_read(tmp_path: Path, form: str) -> None:
    many = {f"{size}.bin": bytes(size) for size in (0, 1, 511, 512, 513, 8191, 8192, 70_000, 262_144)}
    members = read_members(pack(tmp_path / "a", many, form), LIMITS, InvalidSet)
    assert [member.path for member in members] == list(many)


@pytest.mark.parametrize("form", FORMATS)
def test_what_operating_systems_leave_behind_is_skipped(tmp_path: Path, form: str) -> None:
    junk = {"__MACOSX/cat/._1.png": b"x", ".DS_Store": b"x", "cat/Thumbs.db": b"x", "dog/._1.png": b"x"}
    assert contents(pack(tmp_path / "a", FILES | junk, form)) == FILES


@pytest.mark.parametrize("form", FORMATS)
def test_dots_and_backslashes_in_paths_are_resolved(tmp_path: Path, form: str) -> None:
    assert contents(pack(tmp_path / "a", {"./cat/./1.png": b"a", "dog\\2.png": b"b"}, form)) == {
        "cat/1.png": b"a",
        "dog/2.png": b"b",
    }


@pytest.mark.parametrize("form", FORMATS)
def test_composed_and_decomposed_letters_are_one(tmp_path: Path, form: str) -> None:
    assert list(contents(pack(tmp_path / "a", {"cafe\u0301/1.png": b"a"}, form))) == ["caf\u00e9/1.png"]


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize(
    "name", ["/etc/passwd", "../1.png", "cat/../../1.png", "C:\\cat\\1.png", "..\\1.png", "cat/a\nb.png", "x" * 1100]
)
def test_unsafe_paths_are_refused(tmp_path: Path, form: str, name: str) -> None:
    error = refused(pack(tmp_path / "a", FILES | {name: b"x"}, form))
    assert error.code == "unsafe_path"
    assert repr(name[:200]) in error.detail


@pytest.mark.parametrize("form", FORMATS)
def test_two_members_of_one_path_are_refused(tmp_path: Path, form: str) -> None:
    error = refused(pack(tmp_path / "a", FILES | {"./dog/1.png": b"x"}, form))
    assert error.code == "duplicate_member"
    assert "dog/1.png" in error.detail


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE])
def test_links_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("cat/link.png")
    info.type, info.linkname = kind, "/etc/passwd"
    error = refused(tar_with(tmp_path / "a", info, FILES))
    assert error.code == "link_member"
    assert "cat/link.png" in error.detail


@pytest.mark.parametrize("kind", [tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE, tarfile.GNUTYPE_SPARSE])
def test_devices_pipes_and_sparse_files_in_a_tar_are_refused(tmp_path: Path, kind: bytes) -> None:
    info = tarfile.TarInfo("cat/device.png")
    info.type = kind
    assert refused(tar_with(tmp_path / "a", info, FILES)).code == "special_member"


@pytest.mark.parametrize(
    ("mode", "code"),
    [(stat.S_IFLNK, "link_member"), (stat.S_IFCHR, "special_member"), (stat.S_IFIFO, "special_member")],
)
def test_links_and_devices_in_a_zip_are_refused(tmp_path: Path, mode: int, code: str) -> None:
    info = zipfile.ZipInfo("cat/special.png")
    info.external_attr = (mode | 0o644) << 16
    error = refused(zip_with(tmp_path / "a", info, FILES))
    assert error.code == code
    assert "cat/special.png" in error.detail


def test_encrypted_members_are_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a", {"cat/1.png": b"secret"})
    data = bytearray(path.read_bytes())
    for signature, flags_at in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + flags_at] |= 0x1
    path.write_bytes(data)
    error = refused(path)
    assert error.code == "encrypted_member"
    assert "cat/1.png" in error.detail


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compressions_are_refused(tmp_path: Path, method: int) -> None:
    info = zipfile.ZipInfo("cat/1.png")
    info.compress_type = method
    assert refused(zip_with(tmp_path / "a", info, {})).code == "unsupported_compression"


@pytest.mark.parametrize("form", FORMATS)
def test_too_many_packed_bytes_are_refused(tmp_path: Path, form: str) -> None:
    error = refused(pack(tmp_path / "a", FILES, form), Limits(100, 2**20, 50))
    assert (error.status, error.code) == (413, "packed_too_large")


@pytest.mark.parametrize("form", ["zip", "tar.gz"])
def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path, form: str) -> None:
    path = pack(tmp_path / "a", {"cat/bomb.png": bytes(2**23)}, form)
    assert path.stat().st_size < 2**17
    error = refused(path)
    assert (error.status, error.code) == (413, "unpacked_too_large")


def test_a_bomb_that_lies_about_its_size_is_refused(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a", {"cat/bomb.png": bytes(2**22)})
    data = bytearray(path.read_bytes())
    for signature, size_at in ((b"PK\x03\x04", 22), (b"PK\x01\x02", 24)):
        at = data.index(signature) + size_at
        data[at : at + 4] = struct.pack("<I", 10)
    path.write_bytes(data)
    assert refused(path).code == "damaged_archive"


@pytest.mark.parametrize("form", FORMATS)
def test_too_many_members_are_refused(tmp_path: Path, form: str) -> None:
    error = refused(pack(tmp_path / "a", {f"cat/{i}/": b"" for i in range(60)}, form))
    assert (error.status, error.code) == (413, "too_many_members")


def test_a_huge_directory_of_a_zip_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        path = zip_of(tmp_path / "a", {f"{'x' * 900}{i}": b"" for i in range(2000)})
    assert refused(path, Limits(2**24, 2**20, 50)).code == "damaged_archive"


def test_a_huge_header_of_a_tar_is_refused_before_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a"
    info = tarfile.TarInfo("cat/1.png")
    info.pax_headers = {"comment": "x" * 2**23}
    with tarfile.open(path, "w:gz", format=tarfile.PAX_FORMAT) as archive:
        archive.addfile(info)
    assert refused(path).code == "damaged_archive"


def test_a_chain_of_tar_headers_is_refused(tmp_path: Path) -> None:
    header = tarfile.TarInfo("longname")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 4
    block = header.tobuf(tarfile.GNU_FORMAT) + b"name".ljust(512, b"\0")
    path = tmp_path / "a"
    path.write_bytes(gzip.compress(block * 5000))
    assert refused(path).code == "damaged_archive"


@pytest.mark.parametrize("form", FORMATS)
def test_a_cut_archive_is_refused(tmp_path: Path, form: str) -> None:
    path = pack(tmp_path / "a", FILES, form)
    data = path.read_bytes()
    end = len(data.rstrip(b"\0")) if form == "tar" else len(data)
    for kept in range(0, end, 97):
        path.write_bytes(data[:kept])
        assert refused(path).code in {"damaged_archive", "unknown_format"}


def test_a_zip_without_its_end_is_called_cut_short(tmp_path: Path) -> None:
    path = zip_of(tmp_path / "a", FILES)
    path.write_bytes(path.read_bytes()[:-60])
    assert "cut short" in refused(path).detail


def test_a_tar_without_its_end_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a", FILES)
    end_of_members = sum(512 + -(-len(data) // 512) * 512 for data in FILES.values())
    path.write_bytes(path.read_bytes()[:end_of_members])
    assert refused(path).code == "damaged_archive"


def test_a_broken_header_amid_a_tar_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a", FILES)
    data = bytearray(path.read_bytes())
    data[512 + 1024 + 10] ^= 0xFF
    path.write_bytes(data)
    assert refused(path).code == "damaged_archive"


def test_a_wrong_checksum_at_the_end_of_a_gzip_is_refused(tmp_path: Path) -> None:
    path = tar_of(tmp_path / "a", FILES, "w:gz")
    data = bytearray(path.read_bytes())
    data[-8] ^= 0xFF
    path.write_bytes(data)
    assert refused(path).code == "damaged_archive"


def test_a_changed_byte_of_a_zip_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("cat/1.png", b"0123456789")
    path.write_bytes(path.read_bytes().replace(b"0123456789", b"0123456780"))
    error = refused(path)
    assert error.code == "damaged_archive"
    assert "cat/1.png" in error.detail


@pytest.mark.parametrize(
    ("data", "hint"),
    [(b"", ""), (b"hello", ""), (b"7z\xbc\xaf\x27\x1c...", "7z"), (b"Rar!\x1a\x07", "rar"), (b"\xfd7zXZ\x00", "xz")],
)
def test_other_files_are_refused(tmp_path: Path, data: bytes, hint: str) -> None:
    path = tmp_path / "a"
    path.write_bytes(data)
    error = refused(path)
    assert error.code == "unknown_format"
    assert hint in error.detail


def test_a_gzip_of_something_else_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a"
    buffer = io.BytesIO()
    with gzip.open(buffer, "wb") as file:
        file.write(b"no tar at all" * 100)
    path.write_bytes(buffer.getvalue())
    assert refused(path).code == "damaged_archive"
