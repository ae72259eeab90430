"""The adaptation sets that are stored."""

import dataclasses
import json
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path

from service.adaptation_sets.archive import read_class_folders, set_limits
from service.adaptation_sets.arrays import is_npz, read_npz
from service.adaptation_sets.contents import Contents
from service.adaptation_sets.label_maps import check_label_map, joined_label_map
from service.adaptation_sets.stored import CONTENTS_FILE, DOCUMENT_FILE, StoredSet
from service.artifacts.store import ArtifactStore
from service.errors import InUse, InvalidSet, NotFound, SetNotFound
from service.schemas.adaptation_set import AdaptationSet, LabelMap
from service.schemas.base import utc_now
from service.settings import Settings


class SetRegistry:
    """Adaptation sets by the sha256 of their contents."""

    def __init__(self, store: ArtifactStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def add(self, staged: Path, label_map: LabelMap | None = None) -> AdaptationSet:
        """Check the uploaded file at ``staged`` whole and store it; what is stored already is returned.

        The caller keeps ``staged``. Raises InvalidSet or TooLarge with a stable code, and StorageFull; then nothing
        is kept.
        """
        document, _ = self.admit(staged, label_map, lambda _: None)
        return document

    def admit(
        self, staged: Path, label_map: LabelMap | None, check: Callable[[StoredSet], None]
    ) -> tuple[AdaptationSet, bool]:
        """Like ``add``, but ``check`` looks at the set before it is stored: what it raises keeps the set out.

        Returns the set and whether it is new.
        """
        with self._store.staging() as staging:
            folder = staging / "set"
            folder.mkdir()
            contents = self._read(staged, folder)
            contents = dataclasses.replace(contents, label_map=joined_label_map(label_map, contents.label_map))
            self._check(contents)
            document = self._write(contents, folder)
            check(StoredSet(document, folder, self._settings.max_image_pixels))
            is_new = self._store.commit_folder(folder, self._store.adaptation_set(document.id))
        return self.get(document.id), is_new

    def get(self, set_id: str) -> AdaptationSet:
        """The set with this id. Raises SetNotFound."""
        try:
            text = (self._folder(set_id) / DOCUMENT_FILE).read_text("utf-8")
        except FileNotFoundError as error:
            raise self._not_found(set_id) from error
        document = AdaptationSet.model_validate_json(text)
        return document.model_copy(update={"url": f"{self._settings.public_url}/adaptation-sets/{document.id}"})

    def list(self) -> Sequence[AdaptationSet]:
        """All sets, newest first."""
        documents = []
        for folder in self._store.adaptation_sets():
            with suppress(SetNotFound):  # removed since the folder was listed
                documents.append(self.get(folder.name))
        return sorted(documents, key=lambda document: (document.created_at, document.id), reverse=True)

    def open(self, set_id: str) -> StoredSet:
        """The set with this id, for its images and labels. Raises SetNotFound."""
        return StoredSet(self.get(set_id), self._folder(set_id), self._settings.max_image_pixels)

    def delete(self, set_id: str, in_use: Callable[[str], bool]) -> None:
        """Remove the set with this id. Raises SetNotFound, or InUse when ``in_use(set_id)``."""
        self.get(set_id)
        if in_use(set_id):
            raise InUse(f"a job that has not ended needs the set {set_id}: cancel the job or wait for its end")
        if not self._store.remove(self._folder(set_id)):
            raise self._not_found(set_id)

    def _read(self, staged: Path, folder: Path) -> Contents:
        limits = set_limits(self._settings)
        if is_npz(staged, limits):
            return read_npz(staged, self._settings, limits, folder)
        return read_class_folders(staged, self._settings, folder)

    def _check(self, contents: Contents) -> None:
        if not contents.accepted:
            raise InvalidSet("the set has no images: add some as <class>/<image>", code="no_images")
        if len(contents.counts) < 2:
            only = next(iter(contents.counts))
            raise InvalidSet(
                f"all images of the set are of the class {only!r}: add images of other classes", code="one_class"
            )
        check_label_map(contents.label_map, contents.counts)

    def _write(self, contents: Contents, folder: Path) -> AdaptationSet:
        (folder / CONTENTS_FILE).write_text(json.dumps(contents.as_document()), "utf-8")
        document = AdaptationSet(
            id=contents.identity(),
            created_at=utc_now(),
            images=len(contents.accepted),
            classes=contents.counts,
            multi_label=contents.multi_label,
            label_map=contents.label_map,
            precropped=contents.precropped,
            bytes=sum(path.stat().st_size for path in folder.iterdir()),
            url="",
        )
        (folder / DOCUMENT_FILE).write_text(document.model_dump_json(), "utf-8")
        return document

    def _folder(self, set_id: str) -> Path:
        try:
            return self._store.adaptation_set(set_id)
        except NotFound as error:
            raise self._not_found(set_id) from error

    def _not_found(self, set_id: str) -> SetNotFound:
        return SetNotFound(f"there is no adaptation set {set_id!r}: it was never stored, or has been deleted")
