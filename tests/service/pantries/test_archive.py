import io
import tarfile
from pathlib import Path

import pytest

from service.artifacts.folder import FolderStore
from service.errors import InvalidPantry, PantryExists, SoupsearchError
from service.pantries.registry import PantryRegistry
from service.schemas.pantry import PantryRequest
from tests.service.adaptation_sets.pictures import files_below
from tests.service.archives.packing import FORMATS, pack, tar_with
from tests.service.artifacts.deletions import allowed
from tests.service.pantries.checkpoints import ingredient, packed_files, pair, tensors


def accept(_: Path) -> None:
    """Whatever it is."""


REQUEST = PantryRequest(name="tiny")


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("top", ["", "my-pantry/"])
def test_an_archive_is_as_good_as_folders(registry: PantryRegistry, tmp_path: Path, form: str, top: str) -> None:
    ingredients = pair(tmp_path)
    extra = {f"{top}README.md": b"hello", f"{top}linf/README.md": b"x", f"{top}l2/.DS_Store": b"x"}
    path = pack(tmp_path / "a", packed_files(ingredients, top) | extra, form)
    pantry = registry.add_archive(REQUEST, path, accept)
    assert [each.name for each in pantry.ingredients] == ["l2", "linf"]
    assert pantry.digest == registry.add("same", dict(sorted(ingredients.items())), accept).digest
    assert path.exists()


def test_a_recipe_is_kept_and_changes_no_digest(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = pair(tmp_path)
    before = registry.add("before", dict(sorted(ingredients.items())), accept)
    registry.delete("before", allowed)
    recipe = b"data: {folder: images}\ntraining: {epochs: 3}\n"
    path = pack(tmp_path / "a", packed_files(ingredients) | {"linf/recipe.yaml": recipe})
    assert registry.add_archive(REQUEST, path, accept).digest == before.digest
    folder = registry.open("tiny").artifact.path
    assert (folder / "linf" / "recipe.yaml").read_bytes() == recipe
    assert not (folder / "l2" / "recipe.yaml").exists()


def test_the_request_orders_and_chooses(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = pair(tmp_path) | {"l1": ingredient(tmp_path / "l1", tensors(7))}
    path = pack(tmp_path / "a", packed_files(ingredients))
    request = PantryRequest(name="tiny", ingredients=["linf", "l1"])
    pantry = registry.add_archive(request, path, accept)
    assert [each.name for each in pantry.ingredients] == ["linf", "l1"]
    assert sorted(each.name for each in registry.open("tiny").artifact.path.iterdir()) == ["l1", "linf"]


def test_the_request_names_a_reference(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = pair(tmp_path) | {"standard": ingredient(tmp_path / "standard", tensors(7))}
    path = pack(tmp_path / "a", packed_files(ingredients))
    pantry = registry.add_archive(PantryRequest(name="tiny", reference="standard"), path, accept)
    assert [each.name for each in pantry.ingredients] == ["l2", "linf"]
    assert pantry.reference is not None
    assert pantry.reference.name == "standard"


def refused(
    registry: PantryRegistry, store: FolderStore, path: Path, request: PantryRequest = REQUEST
) -> SoupsearchError:
    with pytest.raises(SoupsearchError) as caught:
        registry.add_archive(request, path, accept)
    assert files_below(store.root) == []
    return caught.value


@pytest.mark.parametrize(
    ("ingredients", "code"),
    [(["linf", "l9"], "unknown_ingredient"), (["linf", "linf"], "duplicate_ingredient")],
)
def test_the_request_must_fit_the_archive(
    registry: PantryRegistry, store: FolderStore, tmp_path: Path, ingredients: list[str], code: str
) -> None:
    path = pack(tmp_path / "a", packed_files(pair(tmp_path)))
    error = refused(registry, store, path, PantryRequest(name="tiny", ingredients=ingredients))
    assert error.code == code


@pytest.mark.parametrize(
    ("members", "code"),
    [
        ({}, "ingredient_count"),
        ({"model.safetensors": b"x", "config.json": b"{}"}, "misplaced_file"),
        ({"a/b/c/config.json": b"{}", "a/b/d/config.json": b"{}", "e/config.json": b"{}"}, "misplaced_file"),
        ({"a b/config.json": b"{}", "c/config.json": b"{}"}, "invalid_name"),
        ({"a/config.json": b"{}", "b/config.json": b"{}"}, "missing_file"),
        ({"a/config.json": b"{}", "a/pytorch_model.bin": b"\x80", "b/config.json": b"{}"}, "missing_file"),
        ({"a/config.json": b" " * (2**24 + 1)}, "unpacked_too_large"),
        ({"../a/config.json": b"{}"}, "unsafe_path"),
        ({"a/config.json": b"{}", "./a/config.json": b"{}"}, "duplicate_member"),
        ({f"a/{index}.txt": b"" for index in range(1030)}, "too_many_members"),
    ],
)
def test_archives_of_other_things_are_refused(
    *, registry: PantryRegistry, store: FolderStore, tmp_path: Path, members: dict[str, bytes], code: str
) -> None:
    error = refused(registry, store, pack(tmp_path / "a", members))
    assert error.code == code, error.detail
    assert error.status == (413 if "too_" in code else 422)


def test_a_document_that_is_far_too_long_is_refused(
    registry: PantryRegistry, store: FolderStore, tmp_path: Path
) -> None:
    registry._settings.max_pantry_bytes = 2**26
    path = pack(tmp_path / "a", {"a/training.json": b" " * (2**24 + 1)})
    assert refused(registry, store, path).code == "document_too_large"


def test_a_bomb_is_refused(registry: PantryRegistry, store: FolderStore, tmp_path: Path) -> None:
    path = pack(tmp_path / "a", {"a/model.safetensors": bytes(2**21)}, "tar.gz")
    assert refused(registry, store, path).code == "unpacked_too_large"


def test_a_link_is_refused(registry: PantryRegistry, store: FolderStore, tmp_path: Path) -> None:
    link = tarfile.TarInfo("linf/training.json")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    error = refused(registry, store, tar_with(tmp_path / "a", link, packed_files(pair(tmp_path))))
    assert error.code == "link_member"
    assert isinstance(error, InvalidPantry)


def test_unread_members_do_not_disturb_those_after_them(registry: PantryRegistry, tmp_path: Path) -> None:
    path = tmp_path / "a"
    with tarfile.open(path, "w:gz") as archive:
        for name, data in packed_files(pair(tmp_path)).items():
            for member, content in ((f"{name}.log", bytes(4096)), (name, data)):
                info = tarfile.TarInfo(member)
                info.size = len(content)
                archive.addfile(info, io.BytesIO(content))
    assert len(registry.add_archive(REQUEST, path, accept).ingredients) == 2


def test_a_taken_name_is_refused_before_unpacking(registry: PantryRegistry, tmp_path: Path) -> None:
    registry.add("tiny", pair(tmp_path), accept)
    with pytest.raises(PantryExists):
        registry.add_archive(REQUEST, tmp_path / "absent", accept)
