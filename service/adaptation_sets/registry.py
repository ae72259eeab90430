"""The registry of stored adaptation sets."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path

from service.adaptation_sets.archive import read_class_folders, set_limits
from service.adaptation_sets.arrays import is_npz, read_npz
from service.adaptation_sets.contents import Contents
from service.adaptation_sets.label_maps import check_label_map, joined_label_map
from service.adaptation_sets.stored import CONTENTS_FILE, DOCUMENT_FILE, StoredSet
from service.artifacts.store import Artifact, ArtifactStore, Entry, Kind, Name
from service.errors import DeletedMeanwhile, InvalidSet, NotFound, SetNotFound, TooLarge, at_fault
from service.schemas.adaptation_set import AdaptationSet, LabelMap
from service.schemas.base import utc_now
from service.settings import Settings


class SetRegistry:
    """Adaptation sets by the sha256 of their contents."""

    def __init__(self, store: ArtifactStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def add(self, staged: Path, label_map: LabelMap | None = None) -> AdaptationSet:
        """Check the uploaded file at ``staged`` whole and store it until ``delete``; return it if it is already stored.

        The caller keeps ``staged``. Raises InvalidSet or TooLarge with a stable code, StorageFull, and
        DeletedMeanwhile; then nothing is kept.
        """
        document, _ = self.admit(staged, label_map, lambda _: None)
        name = Name("sets", document.id, document.id, "")
        self._store.bind(name)
        if not self._store.renew("sets", document.id):
            self._store.unbind(name)
            raise DeletedMeanwhile(f"the set {document.id} was deleted while it was stored: send it again")
        return document

    def admit(
        self, staged: Path, label_map: LabelMap | None, check: Callable[[StoredSet], None]
    ) -> tuple[AdaptationSet, Entry | None]:
        """Like ``add``, but keep the set only while a job refers to it, and only if ``check`` does not raise.

        Returns the set and, if it is new, the argument for ``discard``.
        """
        with self._store.staging() as staging, at_fault("adaptation_set", InvalidSet, TooLarge):
            folder = staging / "set"
            folder.mkdir()
            contents = self._read(staged, folder)
            contents = dataclasses.replace(contents, label_map=joined_label_map(label_map, contents.label_map))
            self._check(contents)
            document = self._write(contents, folder)
            check(StoredSet(document, Artifact(folder), self._settings.max_image_pixels))
            entry, is_new = self._store.put("sets", document.id, folder)
        return self.get(document.id), entry if is_new else None

    def discard(self, entry: Entry) -> None:
        """Remove a set that no job uses, unless another request has named or sent it since."""
        self._store.delete(entry)

    def get(self, set_id: str) -> AdaptationSet:
        """The set with this id. Raises SetNotFound."""
        try:
            text = self._store.read("sets", set_id, DOCUMENT_FILE)
        except NotFound as error:
            raise self._not_found(set_id) from error
        document = AdaptationSet.model_validate_json(text)
        return document.model_copy(update={"url": f"{self._settings.public_url}/adaptation-sets/{document.id}"})

    def list(self) -> Sequence[AdaptationSet]:
        """All sets, newest first."""
        documents = []
        for entry in self._store.entries("sets"):
            with suppress(SetNotFound):  # removed since it was listed
                documents.append(self.get(entry.digest))
        return sorted(documents, key=lambda document: (document.created_at, document.id), reverse=True)

    def open(self, set_id: str) -> StoredSet:
        """The set with this id, for its images and labels. Raises SetNotFound."""
        document = self.get(set_id)
        try:
            artifact = self._store.open("sets", set_id)
        except NotFound as error:
            raise self._not_found(set_id) from error
        return StoredSet(document, artifact, self._settings.max_image_pixels)

    def renew(self, set_id: str) -> None:
        """Keep the set while a job that refers to it is made. Raises SetNotFound."""
        if not self._store.renew("sets", set_id):
            raise self._not_found(set_id)

    def delete(self, set_id: str, deletion: Callable[[Kind, str], AbstractContextManager[None]]) -> None:
        """Remove the set with this id, within ``deletion("sets", set_id)``, which may raise InUse.

        Raises SetNotFound.
        """
        entry = self._store.find("sets", set_id)
        if entry is None:
            raise self._not_found(set_id)
        with deletion("sets", set_id):
            if name := self._store.resolve("sets", set_id):
                self._store.unbind(name)
            self._store.delete(entry)

    def _read(self, staged: Path, folder: Path) -> Contents:
        limits = set_limits(self._settings)
        if is_npz(staged, limits):
            return read_npz(staged, self._settings, limits, folder)
        return read_class_folders(staged, self._settings, folder)

    def _check(self, contents: Contents) -> None:
        if not contents.accepted:
            raise InvalidSet(
                "the set has no images: add some as <class>/<image>, or unlabelled/<image>", code="no_images"
            )
        if len(contents.counts) == 1:
            only = next(iter(contents.counts))
            raise InvalidSet(
                f"all labelled images of the set are of the class {only!r}: add images of other classes. Those without "
                "a label belong into the folder unlabelled/; in an npz their label is -1",
                code="one_class",
            )
        check_label_map(contents.label_map, contents.counts)

    def _write(self, contents: Contents, folder: Path) -> AdaptationSet:
        (folder / CONTENTS_FILE).write_text(json.dumps(contents.as_document()), "utf-8")
        document = AdaptationSet(
            id=contents.identity(),
            created_at=utc_now(),
            images=len(contents.accepted),
            labelled=contents.labelled,
            classes=contents.counts,
            multi_label=contents.multi_label,
            label_map=contents.label_map,
            precropped=contents.precropped,
            bytes=sum(path.stat().st_size for path in folder.iterdir()),
            url="",
        )
        (folder / DOCUMENT_FILE).write_text(document.model_dump_json(), "utf-8")
        return document

    def _not_found(self, set_id: str) -> SetNotFound:
        return SetNotFound(f"there is no adaptation set {set_id!r}: it was never stored, or has been deleted")
