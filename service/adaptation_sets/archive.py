"""Reads class folders from an archive: checks, hashes and copies every image in one pass."""

import hashlib
import shutil
import tempfile
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Annotated, cast

from pydantic import TypeAdapter, ValidationError

from service.adaptation_sets.contents import Contents
from service.adaptation_sets.images import decode
from service.adaptation_sets.layout import (
    LABEL_MAP_FILE,
    LABELS_FILE,
    PREPROCESSING_FILE,
    accepted_classes,
    check_folders,
    is_document,
    root_folder,
)
from service.archives.members import Kind, Limits, Member
from service.archives.reader import read_members
from service.errors import InvalidSet, TooLarge
from service.schemas.adaptation_set import LabelMap, ModelClass, Preprocessing
from service.schemas.base import Alternatives
from service.schemas.wording import place, sentence
from service.settings import Settings

IMAGES_FILE = "images.zip"
_DOCUMENT_BYTES = 32 * 2**20
_IN_MEMORY_BYTES = 8 * 2**20
_FOLDERS_AND_DOCUMENTS = 1024

_Classes = Annotated[
    ModelClass | list[ModelClass], Alternatives("must be a class, its name or index, or a list of classes")
]
_LABELS: TypeAdapter[dict[str, ModelClass | list[ModelClass]]] = TypeAdapter(dict[str, _Classes])
_LABEL_MAP: TypeAdapter[LabelMap] = TypeAdapter(LabelMap)


def set_limits(settings: Settings) -> Limits:
    """What an uploaded set may hold."""
    members = 2 * settings.max_images + _FOLDERS_AND_DOCUMENTS
    return Limits(settings.max_upload_bytes, settings.max_unpacked_bytes, members)


@dataclass
class _Collected:
    """What one pass over an archive has found so far."""

    digests: dict[str, str] = field(default_factory=dict)
    documents: dict[str, bytes] = field(default_factory=dict)
    folders: set[str] = field(default_factory=set)


def read_class_folders(staged: Path, settings: Settings, folder: Path) -> Contents:
    """The images of the archive at ``staged``; their files go to ``folder / IMAGES_FILE``, each under its sha256.

    Raises InvalidSet or TooLarge with a stable code if anything is refused; the caller removes ``folder``.
    """
    found = _Collected()
    with zipfile.ZipFile(folder / IMAGES_FILE, "w", zipfile.ZIP_STORED) as target:
        for member in read_members(staged, set_limits(settings), InvalidSet):
            _take(member, found, target, settings)
    return _contents(found)


def _take(member: Member, found: _Collected, target: zipfile.ZipFile, settings: Settings) -> None:
    if member.kind is Kind.FOLDER:
        found.folders.add(member.path)
    elif is_document(member.path):
        found.documents[member.path] = _document(member)
    elif len(found.digests) == settings.max_images:
        raise TooLarge(f"the set has more than {settings.max_images} images: send fewer", code="too_many_images")
    else:
        found.digests[member.path] = _copy_image(member, target, settings)


def _document(member: Member) -> bytes:
    data = bytearray()
    for chunk in member.chunks():
        data += chunk
        if len(data) > _DOCUMENT_BYTES:
            raise TooLarge(
                f"{member.path!r} has more than {_DOCUMENT_BYTES} bytes: send a smaller set", code="document_too_large"
            )
    return bytes(data)


def _copy_image(member: Member, target: zipfile.ZipFile, settings: Settings) -> str:
    hasher = hashlib.sha256()
    folder = str(Path(str(target.filename)).parent)
    with tempfile.SpooledTemporaryFile(_IN_MEMORY_BYTES, dir=folder) as spool:
        for chunk in member.chunks():
            hasher.update(chunk)
            spool.write(chunk)
        size = spool.tell()
        spool.seek(0)
        decode(cast(IO[bytes], spool), member.path, settings.max_image_pixels)
        digest = hasher.hexdigest()
        if digest not in target.NameToInfo:
            spool.seek(0)
            _append(cast(IO[bytes], spool), target, digest, size)
    return digest


def _append(source: IO[bytes], target: zipfile.ZipFile, digest: str, size: int) -> None:
    info = zipfile.ZipInfo(digest)
    info.file_size = size
    with target.open(info, "w") as entry:
        shutil.copyfileobj(source, entry)


def _contents(found: _Collected) -> Contents:
    root = root_folder(found.digests, found.documents)
    digests = {path.removeprefix(root): digest for path, digest in found.digests.items()}
    documents = {path.removeprefix(root): data for path, data in found.documents.items()}
    if stray := [path for path in documents if "/" in path]:
        raise InvalidSet(f"{stray[0]!r} is not an image and not at the root: leave it out", code="not_an_image")
    paths = sorted(digests)
    labels = _labels(documents.get(LABELS_FILE))
    accepted = accepted_classes(paths, labels)
    check_folders({path for path in found.folders if path + "/" != root}, found.digests)
    label_map = _label_map(documents.get(LABEL_MAP_FILE))
    return Contents(
        tuple(accepted),
        label_map,
        tuple(paths),
        tuple(digests[path] for path in paths),
        precropped=_preprocessing(documents.get(PREPROCESSING_FILE)).precropped,
    )


def _labels(data: bytes | None) -> dict[str, list[str]]:
    if data is None:
        return {}
    try:
        entries = _LABELS.validate_json(data, strict=True)
    except ValidationError as error:
        raise InvalidSet(
            f"{LABELS_FILE} is not a JSON object of path to class or list of classes: {_first_reason(error)}",
            code="invalid_labels",
        ) from error
    labels = {path: classes if isinstance(classes, list) else [classes] for path, classes in entries.items()}
    if bare := [path for path, classes in labels.items() if not classes or "" in classes]:
        raise InvalidSet(
            f"{LABELS_FILE} gives {bare[0]!r} no class: give it one or leave the image out", code="invalid_labels"
        )
    named = {path: [str(name) for name in classes] for path, classes in labels.items()}
    if repeated := [path for path, names in named.items() if len(set(names)) < len(names)]:
        raise InvalidSet(
            f"{LABELS_FILE} gives {repeated[0]!r} a class twice: name each accepted class once, not in one-hot form",
            code="invalid_labels",
        )
    return named


def _label_map(data: bytes | None) -> LabelMap | None:
    if data is None:
        return None
    try:
        return _LABEL_MAP.validate_json(data, strict=True)
    except ValidationError as error:
        raise InvalidSet(
            f"{LABEL_MAP_FILE} is not a JSON object of class to the model's class or classes: {_first_reason(error)}",
            code="invalid_label_map",
        ) from error


def _preprocessing(data: bytes | None) -> Preprocessing:
    try:
        return Preprocessing.model_validate_json(data or b"{}", strict=True)
    except ValidationError as error:
        raise InvalidSet(
            f'{PREPROCESSING_FILE} is not {{"precropped": true}}: {_first_reason(error)}: write that, or leave it out',
            code="invalid_preprocessing",
        ) from error


def _first_reason(error: ValidationError) -> str:
    """The place and reason of a validation's first error, in one line."""
    first = error.errors()[0]
    return str(first["ctx"]["error"]) if first["type"] == "json_invalid" else sentence(first, place(first["loc"]))
