"""The artifact store: files that API and workers share, each whole or absent."""

import re
import shutil
import tempfile
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Literal

from service.artifacts.storage import full_disk_as_error, newest_change, sync, sync_tree
from service.errors import NotFound, StorageFull
from service.settings import Settings

Kind = Literal["pantries", "sets", "models"]
KINDS: tuple[Kind, ...] = ("pantries", "sets", "models")

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class ArtifactStore:
    """Pantries, adaptation sets and models under one root folder.

    Everything is written in a staging folder of the same file system, flushed, and renamed into place: readers see
    an artifact whole or not at all, also after a crash. Artifacts are immutable; removing one is a rename too.
    All writing methods raise StorageFull on a full disk, and then leave what was there before as it was.

    ==============================  ==========================================
    ``pantries/<name>/``            ``pantry.json`` and a folder an ingredient
    ``sets/<sha256>/``              ``set.json`` and the images
    ``models/<sha256>.safetensors`` and ``models/<sha256>.config.json``
    ``staging/``                    uploads in flight
    ==============================  ==========================================
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root.resolve()
        self._settings = settings
        for name in (*KINDS, "staging"):
            (self.root / name).mkdir(parents=True, exist_ok=True)

    def pantry(self, name: str) -> Path:
        """Folder of a pantry, whether it exists or not. NotFound when ``name`` cannot be a name."""
        return self._path("pantries", name)

    def adaptation_set(self, set_id: str) -> Path:
        """Folder of a set, whether it exists or not."""
        return self._path("sets", set_id)

    def model(self, digest: str) -> Path:
        """File of a merged model, whether it exists or not."""
        return self._path("models", f"{digest}.safetensors")

    def model_config(self, digest: str) -> Path:
        """The ``config.json`` that timm reads, of a merged model."""
        return self._path("models", f"{digest}.config.json")

    def pantries(self) -> list[Path]:
        """Folders of all pantries, by name."""
        return sorted(path for path in (self.root / "pantries").iterdir() if path.is_dir())

    def adaptation_sets(self) -> list[Path]:
        """Folders of all sets, by digest."""
        return sorted(path for path in (self.root / "sets").iterdir() if path.is_dir())

    def reserve(self, size: int = 0) -> None:
        """Raise StorageFull when writing ``size`` bytes would leave less than ``settings.min_free_bytes``."""
        free = shutil.disk_usage(self.root).free
        if free - size < self._settings.min_free_bytes:
            msg = (
                f"{free} bytes are free in {self.root}, and {size} more would leave less than "
                f"{self._settings.min_free_bytes}: delete old jobs, sets or pantries, or add disk space"
            )
            raise StorageFull(msg)

    @contextmanager
    def staging(self) -> Iterator[Path]:
        """A new private folder for an upload or an output, removed at the end with all that was not committed.

        A full disk inside the block becomes StorageFull, whoever wrote.
        """
        with full_disk_as_error(self.root):
            self.reserve()
            folder = Path(tempfile.mkdtemp(dir=self.root / "staging"))
            try:
                yield folder
            finally:
                shutil.rmtree(folder, ignore_errors=True)

    def commit_file(self, staged: Path, kind: Kind, digest: str, suffix: str) -> Path:
        """Put a staged file into place as ``<kind>/<digest><suffix>`` and return its path.

        An artifact of the same digest has the same contents, so that it stays and the staged file is dropped.
        """
        target = self._path(kind, digest + suffix)
        with full_disk_as_error(self.root):
            if target.exists():
                target.touch()
                staged.unlink()
                return target
            sync(staged)
            staged.rename(target)
            sync(target.parent)
        return target

    def commit_folder(self, staged: Path, target: Path) -> bool:
        """Put a staged folder into place at ``target``, a path that this store named.

        Returns False, and changes nothing, when ``target`` exists already: one of several writers wins.
        """
        if target.parent.parent != self.root:
            msg = f"{target} is not a place for an artifact of {self.root}"
            raise ValueError(msg)
        with full_disk_as_error(self.root):
            sync_tree(staged)
            try:
                staged.rename(target)
            except OSError:
                if target.exists():
                    return False
                raise
            sync(target.parent)
        return True

    def remove(self, path: Path) -> bool:
        """Remove an artifact at once; False when it is not there."""
        graveyard = Path(tempfile.mkdtemp(dir=self.root / "staging"))
        try:
            path.rename(graveyard / path.name)
        except FileNotFoundError:
            return False
        finally:
            shutil.rmtree(graveyard, ignore_errors=True)
        return True

    def sweep(self, models_in_use: Collection[str] | None = None) -> list[Path]:
        """Remove what nobody will finish or ask for, and return the paths removed.

        That is: staging folders without a change for ``settings.staging_ttl`` seconds and, when ``models_in_use``
        (digests) is given, models not in it that are as old; a younger model may be about to be named by its job.
        """
        before = time.time() - self._settings.staging_ttl
        stale = [path for path in (self.root / "staging").iterdir() if newest_change(path) < before]
        for path in stale:
            shutil.rmtree(path, ignore_errors=True)
        if models_in_use is None:
            return stale
        return stale + self._sweep_models(set(models_in_use), before)

    def _sweep_models(self, in_use: set[str], before: float) -> list[Path]:
        removed = []
        for path in sorted((self.root / "models").iterdir()):
            if path.name.partition(".")[0] not in in_use and newest_change(path) < before and self.remove(path):
                removed.append(path)
        return removed

    def _path(self, kind: Kind, name: str) -> Path:
        if _NAME.fullmatch(name) is None:
            msg = f"{name!r} is not the name of anything in {kind}: use letters, digits, dots, dashes and underscores"
            raise NotFound(msg)
        return self.root / kind / name
