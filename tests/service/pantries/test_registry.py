import hashlib
import json
import os
from pathlib import Path

import pytest

from service.artifacts.folder import FolderStore
from service.artifacts.store import Name
from service.errors import DeletedMeanwhile, InUse, InvalidPantry, PantryExists, PantryNotFound
from service.pantries.registry import PantryRegistry
from tests.service.adaptation_sets.pictures import files_below
from tests.service.artifacts.deletions import allowed, refused
from tests.service.pantries.checkpoints import config, ingredient, pair, tensors

EXAMPLES = Path("examples/pantries")


def accept(folder: Path) -> None:
    assert (folder / "model.safetensors").is_file()


def test_a_pantry_describes_its_ingredients(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = pair(tmp_path)
    (ingredients["l2"] / "training.json").write_text('{"epochs": 3}')
    pantry = registry.add("tiny", ingredients, accept)

    assert registry.get("tiny") == pantry
    assert [each.name for each in pantry.ingredients] == ["linf", "l2"]
    assert [each.training for each in pantry.ingredients] == [None, {"epochs": 3}]
    for each in pantry.ingredients:
        data = (ingredients[each.name] / "model.safetensors").read_bytes()
        assert (each.sha256, each.bytes) == (hashlib.sha256(data).hexdigest(), len(data))
    assert (pantry.architecture, pantry.num_classes, pantry.dtype) == ("resnet18", 3, "float32")
    assert pantry.parameters == 36 + 4 + 12 + 3
    assert pantry.batch_norm
    assert pantry.input_size == (1, 8, 8)
    assert pantry.label_names == ["cat", "dog", "yak"]
    assert pantry.url == "/pantries/tiny"


def test_an_ingredients_files_are_kept_and_others_are_not(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = pair(tmp_path)
    (ingredients["linf"] / "README.md").write_text("hello")
    for folder in ingredients.values():
        (folder / "recipe.yaml").write_text("training: {epochs: 3}\n")
    registry.add("tiny", ingredients, accept)
    folders = registry.open("tiny").folders
    assert [folder.name for folder in folders] == ["linf", "l2"]
    for folder in folders:
        assert sorted(path.name for path in folder.iterdir()) == ["config.json", "model.safetensors", "recipe.yaml"]
        for path in folder.iterdir():
            assert path.read_bytes() == (ingredients[folder.name] / path.name).read_bytes()


def test_the_digest_depends_on_order_names_weights_and_configuration(registry: PantryRegistry, tmp_path: Path) -> None:
    sound = pair(tmp_path)
    reordered = dict(reversed(sound.items()))
    renamed = {"linf": sound["linf"], "other": sound["l2"]}
    reseeded = {"linf": sound["linf"], "l2": ingredient(tmp_path / "x", tensors(9))}
    grey = config(pretrained_cfg__mean=[0.4])
    shifted = {name: ingredient(tmp_path / "y" / name, tensors(seed), grey) for seed, name in enumerate(sound)}
    variants = [sound, reordered, renamed, reseeded, shifted]
    digests = [registry.add(f"p{index}", each, accept).digest for index, each in enumerate(variants)]
    assert len(set(digests)) == len(variants)
    assert registry.add("again", sound, accept).digest == digests[0]


def test_a_reference_is_kept_beside_the_ingredients(registry: PantryRegistry, tmp_path: Path) -> None:
    folders = pair(tmp_path)
    plain = registry.add("plain", folders, accept)
    with_reference = folders | {"standard": ingredient(tmp_path / "standard", tensors(7))}
    pantry = registry.add("tiny", with_reference, accept, reference="standard")
    assert [each.name for each in pantry.ingredients] == list(folders)
    assert pantry.reference is not None
    assert pantry.reference.name == "standard"
    kept = registry.open("tiny").reference_folder
    assert kept is not None
    assert (kept / "model.safetensors").is_file()
    assert registry.open("plain").reference_folder is None
    assert pantry.digest != plain.digest


def test_a_reference_is_checked_as_ingredients_are(registry: PantryRegistry, tmp_path: Path) -> None:
    folders = pair(tmp_path)
    with pytest.raises(InvalidPantry, match="standard") as caught:
        registry.add("tiny", folders, accept, reference="standard")
    assert (caught.value.code, caught.value.param) == ("unknown_ingredient", "reference")
    other = ingredient(tmp_path / "other", tensors(7), config(architecture="resnet34"))
    with pytest.raises(InvalidPantry) as caught:
        registry.add("tiny", folders | {"other": other}, accept, reference="other")
    assert caught.value.code == "different_architecture"
    with pytest.raises(InvalidPantry) as caught:
        registry.add("tiny", folders, accept, reference="l2")
    assert caught.value.code == "ingredient_count"


def test_a_name_is_taken_once(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = pair(tmp_path)
    first = registry.add("tiny", ingredients, accept)
    with pytest.raises(PantryExists):
        registry.add("tiny", dict(reversed(ingredients.items())), accept)
    assert registry.get("tiny") == first


def test_who_comes_second_to_a_name_is_told(registry: PantryRegistry, store: FolderStore, tmp_path: Path) -> None:
    ingredients = pair(tmp_path)

    def overtaken(_: Path) -> None:
        registry.add("tiny", dict(reversed(ingredients.items())), accept)

    with pytest.raises(PantryExists):
        registry.add("tiny", ingredients, overtaken)
    assert [each.name for each in registry.get("tiny").ingredients] == ["l2", "linf"]
    assert list((store.root / "staging").iterdir()) == []


def test_pantries_are_listed_by_name(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = pair(tmp_path)
    for name in ("b", "a", "C"):
        registry.add(name, ingredients, accept)
    assert [pantry.name for pantry in registry.list()] == ["C", "a", "b"]


def test_two_names_of_one_pantry_share_its_files(registry: PantryRegistry, store: FolderStore, tmp_path: Path) -> None:
    first, second = (registry.add(name, pair(tmp_path / name), accept) for name in ("a", "b"))
    assert first.digest == second.digest
    assert len(store.entries("pantries")) == 1

    registry.delete("a", allowed)
    assert all((folder / "model.safetensors").is_file() for folder in registry.open("b").folders)
    registry.delete("b", allowed)
    assert files_below(store.root) == []


def test_a_pantry_removed_while_it_is_added_under_another_name_is_sent_again(
    registry: PantryRegistry, store: FolderStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry.add("a", pair(tmp_path / "a"), accept)
    bind = store.bind

    def late(name: Name) -> bool:
        registry.delete("a", allowed)
        return bind(name)

    monkeypatch.setattr(store, "bind", late)
    with pytest.raises(DeletedMeanwhile):
        registry.add("b", pair(tmp_path / "b"), accept)
    assert registry.list() == []
    assert files_below(store.root) == []


def test_a_pantry_in_use_stays(registry: PantryRegistry, store: FolderStore, tmp_path: Path) -> None:
    registry.add("tiny", pair(tmp_path), accept)
    with pytest.raises(InUse):
        registry.delete("tiny", refused)
    assert registry.get("tiny").name == "tiny"

    registry.delete("tiny", allowed)
    assert files_below(store.root) == []
    with pytest.raises(PantryNotFound):
        registry.delete("tiny", allowed)


@pytest.mark.parametrize("name", ["absent", "../sets", "", "a/b", ".hidden"])
def test_unknown_pantries_are_not_found(registry: PantryRegistry, name: str) -> None:
    for call in (registry.get, registry.open):
        with pytest.raises(PantryNotFound):
            call(name)


def test_what_timm_cannot_build_is_refused(registry: PantryRegistry, store: FolderStore, tmp_path: Path) -> None:
    class Unbuildable(ValueError):
        code = "unknown_architecture"

    def refuse(folder: Path) -> None:
        raise Unbuildable(f"{folder}: timm does not know it")

    with pytest.raises(InvalidPantry) as caught:
        registry.add("tiny", pair(tmp_path), refuse)
    assert caught.value.code == "unknown_architecture"
    assert caught.value.detail == "ingredient 'linf': timm does not know it"
    assert files_below(store.root) == []


def test_a_failing_check_leaves_nothing(registry: PantryRegistry, store: FolderStore, tmp_path: Path) -> None:
    def fail(folder: Path) -> None:
        os.stat(folder / "absent")  # noqa: PTH116

    with pytest.raises(FileNotFoundError):
        registry.add("tiny", pair(tmp_path), fail)
    assert files_below(store.root) == []


@pytest.mark.parametrize("name", ["fashion-vit", "fashion-resnet"])
def test_the_shipped_pantries_are_taken(registry: PantryRegistry, name: str) -> None:
    ingredients = {each: EXAMPLES / name / each for each in ("linf", "l2", "l1", "nominal")}
    pantry = registry.add(name, ingredients, accept)
    assert pantry.batch_norm == (name == "fashion-resnet")
    assert pantry.input_size == (1, 28, 28)
    assert pantry.label_names is not None
    assert all(each.training for each in pantry.ingredients)


def test_label_names_may_be_in_one_ingredient_alone(registry: PantryRegistry, tmp_path: Path) -> None:
    ingredients = {
        "a": ingredient(tmp_path / "a", tensors(0), config(label_names=None)),
        "b": ingredient(tmp_path / "b", tensors(1)),
    }
    assert registry.add("tiny", ingredients, accept).label_names == ["cat", "dog", "yak"]


def test_timms_older_layout_is_read(registry: PantryRegistry, tmp_path: Path) -> None:
    old = config()["pretrained_cfg"] | {"architecture": "resnet18", "num_classes": 3}
    named = {"label_names": {"0": "cat", "1": "dog", "2": "yak"}}
    ingredients = {
        name: ingredient(tmp_path / name, tensors(seed), old | named) for seed, name in enumerate(["a", "b"])
    }
    pantry = registry.add("tiny", ingredients, accept)
    assert pantry.label_names == ["cat", "dog", "yak"]
    assert json.loads((registry.open("tiny").folders[0] / "config.json").read_text()) == old | named


def test_the_models_own_arguments_decide_its_input(registry: PantryRegistry, tmp_path: Path) -> None:
    arguments = {"in_chans": 4, "img_size": 12}
    changed = config(model_args=arguments, pretrained_cfg__fixed_input_size=True)
    ingredients = {name: ingredient(tmp_path / name, tensors(seed), changed) for seed, name in enumerate(["a", "b"])}
    assert registry.add("tiny", ingredients, accept).input_size == (4, 12, 12)
