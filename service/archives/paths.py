"""Member paths: whether they are safe, whether they are junk, and which folder they share."""

import re
import unicodedata
from collections.abc import Collection

from service.archives.members import Refusal

LONGEST_PATH = 1024
_JUNK_FOLDERS = frozenset({"__MACOSX"})
_JUNK_FILES = frozenset({".DS_Store", "Thumbs.db", "desktop.ini"})
_DRIVE = re.compile(r"^[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


def safe_path(name: str, refusal: Refusal) -> str:
    """``name`` as a relative path in Unicode's composed form (NFC) without ``.`` parts; empty for the archive's root.

    Raises ``refusal`` with code ``unsafe_path`` if it leads out of the archive or cannot be a file name.
    """
    path = unicodedata.normalize("NFC", name).replace("\\", "/")
    parts = [part for part in path.split("/") if part not in {"", "."}]
    leads_out = path.startswith("/") or _DRIVE.match(path) or ".." in parts
    if leads_out or _CONTROL.search(path) or len(path) > LONGEST_PATH or not _encodes(path):
        raise refusal(
            f"the archive's member {name[:200]!r} has an unsafe path: use relative paths without '..', "
            f"control characters or more than {LONGEST_PATH} characters",
            code="unsafe_path",
        )
    return "/".join(parts)


def _encodes(path: str) -> bool:
    try:
        path.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_junk(path: str) -> bool:
    """Whether an operating system left this file or folder behind; such members are skipped."""
    parts = path.split("/")
    last = parts[-1]
    return bool(_JUNK_FOLDERS.intersection(parts)) or last in _JUNK_FILES or last.startswith("._")


def common_folder(paths: Collection[str], depth: int) -> str:
    """The one folder that holds all ``paths``, with its slash, if each lies at least ``depth`` folders deep.

    Empty if there is none. Packing a folder and packing its contents mean the same.
    """
    tops = {path.partition("/")[0] for path in paths}
    if len(tops) == 1 and all(path.count("/") >= depth for path in paths):
        return tops.pop() + "/"
    return ""
