"""Assigns the members of an archive to classes."""

from collections.abc import Collection, Mapping, Sequence

from service.archives.paths import common_folder
from service.errors import InvalidSet

LABELS_FILE = "labels.json"
LABEL_MAP_FILE = "label_map.json"
PREPROCESSING_FILE = "preprocessing.json"
_ROOT_FILES = frozenset({LABELS_FILE, LABEL_MAP_FILE, PREPROCESSING_FILE})


def is_document(path: str) -> bool:
    """Whether ``path`` may be one of the set's own documents: at the root or in one folder above all others."""
    return path.count("/") <= 1 and path.rpartition("/")[2] in _ROOT_FILES


def root_folder(images: Collection[str], documents: Collection[str]) -> str:
    """The one folder above all class folders, with its slash; empty when the class folders are at the root.

    A folder above everything is skipped if a document lies in it, or if all images lie two folders deep.
    """
    return common_folder([*images, *documents], depth=1 if documents else 2)


def accepted_classes(images: Sequence[str], labels: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Sorted classes of each image: those that ``labels`` gives for its path, otherwise the name of its folder.

    Raises InvalidSet: ``misplaced_image`` for an image that is not in ``<class>/`` and has no labels,
    ``unknown_image`` for labels of an image that is not there.
    """
    if missing := sorted(set(labels).difference(images)):
        raise InvalidSet(
            f"{LABELS_FILE} names {missing[0]!r}, which is not in the archive: remove it there, or add the image",
            code="unknown_image",
        )
    return [tuple(sorted(set(labels[path]))) if path in labels else (_folder(path),) for path in images]


def _folder(path: str) -> str:
    folder, _, name = path.partition("/")
    if not name or "/" in name:
        raise InvalidSet(
            f"the member {path!r} is not in a class folder: put each image at <class>/<image>, "
            f"or give its classes in {LABELS_FILE}",
            code="misplaced_image",
        )
    return folder


def check_folders(folders: Collection[str], images: Collection[str]) -> None:
    """Raise InvalidSet (``empty_folder``) when one of ``folders`` has no image, in it or below."""
    parents = {path[:at] for path in images for at in range(len(path)) if path[at] == "/"}
    if empty := sorted(set(folders) - parents):
        raise InvalidSet(f"the folder {empty[0]!r} has no images: fill it or leave it out", code="empty_folder")
