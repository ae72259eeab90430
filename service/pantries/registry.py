"""The registry of stored pantries."""

import hashlib
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from service.artifacts.store import Artifact, ArtifactStore, Kind, Name
from service.errors import DeletedMeanwhile, InvalidPantry, NotFound, PantryExists, PantryNotFound, TooLarge, at_fault
from service.pantries.archive import extract
from service.pantries.ingredients import (
    FILES,
    WEIGHTS_FILE,
    CheckedIngredient,
    check_ingredients,
    check_name,
    check_names,
)
from service.pantries.verification import Check, run_check
from service.schemas.base import utc_now
from service.schemas.pantry import Ingredient, Pantry, PantryRequest
from service.settings import Settings


@dataclass(frozen=True)
class StoredPantry:
    """A pantry and its files, which exist as long as this object."""

    document: Pantry
    artifact: Artifact

    @property
    def folders(self) -> Sequence[Path]:
        """The timm folders of the ingredients, in their order."""
        return [self.artifact.path / ingredient.name for ingredient in self.document.ingredients]

    @property
    def reference_folder(self) -> Path | None:
        """The timm folder of the reference, if there is one."""
        reference = self.document.reference
        return None if reference is None else self.artifact.path / reference.name


class PantryRegistry:
    """Pantries by name. A pantry never changes: to change one, remove it, or add it under another name.

    Names refer to contents: pantries with the same digest are stored once, with the recipes of the first.
    """

    def __init__(self, store: ArtifactStore, settings: Settings) -> None:
        self._store = store
        self._settings = settings

    def add(self, name: str, ingredients: Mapping[str, Path], verify: Check, *, reference: str | None = None) -> Pantry:
        """Copy ``ingredients``, names to timm folders in the desired order, check them fully and store them.

        The one that ``reference`` names is not an ingredient, but an independent model to compare with.

        Raises InvalidPantry with a stable code, PantryExists, DeletedMeanwhile, StorageFull and the errors of
        ``verify``; then nothing is kept.
        """
        self._check_free(name)
        _check_present([reference] if reference else [], list(ingredients), "reference")
        names = [each for each in ingredients if each != reference]
        check_names(names)
        with self._store.staging() as staging:
            folder = staging / "pantry"
            folder.mkdir()
            for ingredient, source in ingredients.items():
                self._copy(source, folder / ingredient)
            return self._commit(name, names, folder, verify, reference)

    def add_archive(self, request: PantryRequest, staged: Path, verify: Check) -> Pantry:
        """Like ``add``, from an uploaded archive with one folder per ingredient. The caller keeps ``staged``."""
        self._check_free(request.name)
        with self._store.staging() as staging, at_fault("pantry", InvalidPantry, TooLarge):
            folder = staging / "pantry"
            folder.mkdir()
            packed = extract(staged, self._settings, folder)
            reference = [request.reference] if request.reference else []
            _check_present(reference, packed, "reference")
            names = [each for each in request.ingredients or packed if each not in reference]
            _check_present(names, packed, "ingredients")
            check_names(names)
            for extra in set(packed) - set(names) - set(reference):
                shutil.rmtree(folder / extra)
            return self._commit(request.name, names, folder, verify, request.reference)

    def get(self, name: str) -> Pantry:
        """The pantry of this name. Raises PantryNotFound."""
        return self._document(self._resolve(name))

    def list(self) -> Sequence[Pantry]:
        """All pantries, by name."""
        return [self._document(name) for name in self._store.names("pantries")]

    def open(self, name: str) -> StoredPantry:
        """The pantry of this name, for its ingredients. Raises PantryNotFound."""
        known = self._resolve(name)
        try:
            return StoredPantry(self._document(known), self._store.open("pantries", known.digest))
        except NotFound as error:
            raise self._not_found(name) from error

    def delete(self, name: str, deletion: Callable[[Kind, str], AbstractContextManager[None]]) -> None:
        """Remove the pantry of this name, within ``deletion("pantries", digest)``, which may raise InUse.

        Its files stay if it has another name. Raises PantryNotFound.
        """
        known = self._resolve(name)
        entry = self._store.find("pantries", known.digest)
        with deletion("pantries", known.digest):
            if not self._store.unbind(known):
                raise self._not_found(name)
            if entry and all(other.digest != known.digest for other in self._store.names("pantries")):
                self._store.delete(entry)

    def _resolve(self, name: str) -> Name:
        known = self._store.resolve("pantries", name)
        if known is None:
            raise self._not_found(name)
        return known

    def _document(self, name: Name) -> Pantry:
        url = f"{self._settings.public_url}/pantries/{name.name}"
        return Pantry.model_validate_json(name.document).model_copy(update={"url": url})

    def _check_free(self, name: str) -> None:
        check_name(name, "a pantry")
        if self._store.resolve("pantries", name):
            raise self._exists(name)

    def _copy(self, source: Path, target: Path) -> None:
        files = [source / file for file in FILES if (source / file).is_file()]
        self._store.reserve(sum(file.stat().st_size for file in files))
        target.mkdir()
        for file in files:
            shutil.copyfile(file, target / file.name)

    def _commit(self, name: str, names: Sequence[str], folder: Path, verify: Check, reference: str | None) -> Pantry:
        checked = check_ingredients(folder, [*names, *([reference] if reference else [])])
        run_check(verify, folder / names[0])
        pantry = _describe(name, checked[: len(names)], checked[len(names) :])
        entry, is_new = self._store.put("pantries", pantry.digest, folder)
        known = Name("pantries", name, pantry.digest, pantry.model_dump_json())
        if not self._store.bind(known):
            if is_new:
                self._store.delete(entry)
            raise self._exists(name)
        if not self._store.renew("pantries", pantry.digest):
            self._store.unbind(known)
            raise DeletedMeanwhile(f"the files of the pantry {name!r} were deleted while it was added: add it again")
        return self._document(known)

    def _exists(self, name: str) -> PantryExists:
        return PantryExists(f"a pantry named {name!r} exists: take another name, or remove it first", param="name")

    def _not_found(self, name: str) -> PantryNotFound:
        return PantryNotFound(f"there is no pantry {name!r}: `soupsearch pantry list` shows those there are")


def _check_present(names: Sequence[str], present: Sequence[str], param: str) -> None:
    if missing := [each for each in names if each not in present]:
        raise InvalidPantry(
            f"there is no ingredient {missing[0]!r}: there are {', '.join(present) or 'none'}",
            param=param,
            code="unknown_ingredient",
        )


def _describe(name: str, checked: Sequence[CheckedIngredient], references: Sequence[CheckedIngredient]) -> Pantry:
    first = checked[0]
    label_names = next((each.config.label_names for each in checked if each.config.label_names), None)
    return Pantry(
        name=name,
        digest=_digest(checked, references),
        created_at=utc_now(),
        architecture=first.config.architecture,
        parameters=first.checkpoint.parameters,
        num_classes=first.config.num_classes,
        label_names=None if label_names is None else list(label_names),
        input_size=first.config.input_size,
        batch_norm=first.checkpoint.batch_norm,
        dtype=first.checkpoint.dtype,
        ingredients=[_ingredient(each) for each in checked],
        reference=next(map(_ingredient, references), None),
        url="",
    )


def _ingredient(checked: CheckedIngredient) -> Ingredient:
    return Ingredient(name=checked.name, sha256=checked.sha256, bytes=_size(checked), training=checked.training)


def _size(ingredient: CheckedIngredient) -> int:
    return (ingredient.checkpoint.path.parent / WEIGHTS_FILE).stat().st_size


def _digest(checked: Sequence[CheckedIngredient], references: Sequence[CheckedIngredient]) -> str:
    """The digest includes the configurations, because their preprocessing affects every score."""
    contents = [[each.name, each.config_sha256, each.sha256] for each in checked]
    contents += [["reference", each.name, each.config_sha256, each.sha256] for each in references]
    return hashlib.sha256(json.dumps(contents, separators=(",", ":")).encode()).hexdigest()
