"""Assigns the members of an archive to classes."""

from collections.abc import Collection, Mapping, Sequence

from service.archives.paths import common_folder
from service.errors import InvalidSet

LABELS_FILE = "labels.json"
LABEL_MAP_FILE = "label_map.json"
PREPROCESSING_FILE = "preprocessing.json"
UNLABELLED_FOLDER = "unlabelled"
"""Its images have no label, unless ``LABELS_FILE`` gives them one."""
_ROOT_FILES = frozenset({LABELS_FILE, LABEL_MAP_FILE, PREPROCESSING_FILE})


def is_document(path: str) -> bool:
    """Whether ``path`` may be one of the set's own documents: at the root or in one folder above all others."""
    return path.count("/") <= 1 and path.rpartition("/")[2] in _ROOT_FILES


def root_folder(images: Collection[str], documents: Collection[str]) -> str:
    """The one folder above all class folders, with its slash; empty when the class folders are at the root.

    A folder above everything is skipped if a document lies in it, or if all images lie two folders deep;
    ``UNLABELLED_FOLDER`` never is, whatever lies in it.
    """
    root = common_folder([*images, *documents], depth=1 if documents else 2)
    return "" if root == f"{UNLABELLED_FOLDER}/" else root


def accepted_classes(images: Sequence[str], labels: Mapping[str, Sequence[str]]) -> list[tuple[str, ...]]:
    """Sorted classes of each image: those that ``labels`` gives for its path, otherwise the name of its folder.

    An image in ``UNLABELLED_FOLDER`` that ``labels`` does not name has none.

    Raises InvalidSet: ``misplaced_image`` for an image that is in neither ``<class>/`` nor that folder and has no
    labels, ``unknown_image`` for labels of an image that is not there.
    """
    if missing := sorted(set(labels).difference(images)):
        raise InvalidSet(
            f"{LABELS_FILE} names {missing[0]!r}, which is not in the archive: remove it there, or add the image",
            code="unknown_image",
        )
    return [tuple(sorted(set(labels[path]))) if path in labels else _folder_classes(path) for path in images]


def _folder_classes(path: str) -> tuple[str, ...]:
    folder, _, name = path.partition("/")
    if not name or "/" in name:
        raise InvalidSet(
            f"the member {path!r} is not in a class folder: put each image at <class>/<image>, or at "
            f"{UNLABELLED_FOLDER}/<image> if it has no label, or give its classes in {LABELS_FILE}",
            code="misplaced_image",
        )
    return () if folder == UNLABELLED_FOLDER else (folder,)


def check_folders(folders: Collection[str], images: Collection[str]) -> None:
    """Raise InvalidSet (``empty_folder``) when one of ``folders`` has no image, in it or below."""
    parents = {path[:at] for path in images for at in range(len(path)) if path[at] == "/"}
    if empty := sorted(set(folders) - parents):
        raise InvalidSet(f"the folder {empty[0]!r} has no images: fill it or leave it out", code="empty_folder")
