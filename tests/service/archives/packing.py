"""Archives of given members, as bytes on a disk."""

import io
import tarfile
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

FORMATS = ("zip", "tar", "tar.gz")


def pack(path: Path, members: Mapping[str, bytes], form: str = "zip") -> Path:
    """An archive of ``members``; names that end with a slash are folders."""
    return zip_of(path, members) if form == "zip" else tar_of(path, members, "w:gz" if form == "tar.gz" else "w")


def zip_of(path: Path, members: Mapping[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return path


def tar_of(path: Path, members: Mapping[str, bytes], mode: Literal["w", "w:gz"] = "w") -> Path:
    with tarfile.open(path, mode) as archive:
        for name, data in members.items():
            info = tarfile.TarInfo(name.removesuffix("/"))
            info.type = tarfile.DIRTYPE if name.endswith("/") else tarfile.REGTYPE
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def tar_with(path: Path, info: tarfile.TarInfo, members: Mapping[str, bytes]) -> Path:
    """A tar of ``members`` and one special member more."""
    tar_of(path, members)
    with tarfile.open(path, "a") as archive:
        archive.addfile(info)
    return path


def zip_with(path: Path, info: zipfile.ZipInfo, members: Mapping[str, bytes], data: bytes = b"target") -> Path:
    """A zip of ``members`` and one special member more."""
    zip_of(path, members)
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, data)
    return path
