"""Pantries that arrive as an archive: one folder per ingredient."""

from collections.abc import Sequence
from pathlib import Path

from service.archives.members import Kind, Limits, Member
from service.archives.paths import common_folder
from service.archives.reader import read_members
from service.errors import InvalidPantry, TooLarge
from service.pantries.config import CONFIG_BYTES
from service.pantries.ingredients import FILES, WEIGHTS_FILE, check_name
from service.settings import Settings

_MEMBERS = 1024


def extract(staged: Path, settings: Settings, folder: Path) -> list[str]:
    """Extract the ingredients of the archive at ``staged`` to subfolders of ``folder``; returns their sorted names.

    Only the files that a pantry keeps are taken from each ingredient's folder. One more folder may surround all
    ingredients. Raises InvalidPantry or TooLarge with a stable code.
    """
    limits = Limits(settings.max_pantry_bytes, settings.max_pantry_bytes, _MEMBERS)
    unsorted = folder / ".unsorted"
    unsorted.mkdir()
    taken: list[str] = []
    for member in read_members(staged, limits, InvalidPantry):
        if member.kind is Kind.FILE and member.path.rpartition("/")[2] in FILES:
            _write(member, unsorted / str(len(taken)))
            taken.append(member.path)
    names = _sort(taken, unsorted, folder)
    unsorted.rmdir()
    return names


def _write(member: Member, target: Path) -> None:
    bounded = member.path.rpartition("/")[2] != WEIGHTS_FILE
    with target.open("xb") as file:
        for chunk in member.chunks():
            if bounded and file.tell() + len(chunk) > CONFIG_BYTES:
                raise TooLarge(
                    f"{member.path!r} has more than {CONFIG_BYTES} bytes: shorten it", code="document_too_large"
                )
            file.write(chunk)


def _sort(taken: Sequence[str], unsorted: Path, folder: Path) -> list[str]:
    root = common_folder(taken, depth=2)
    names = set()
    for index, path in enumerate(taken):
        name, _, file = path.removeprefix(root).rpartition("/")
        if not name or "/" in name:
            raise InvalidPantry(
                f"the member {path!r} is misplaced: put each ingredient's files at <ingredient>/<file>",
                code="misplaced_file",
            )
        check_name(name, "an ingredient")
        names.add(name)
        (folder / name).mkdir(exist_ok=True)
        (unsorted / str(index)).rename(folder / name / file)
    return sorted(names)
