import json
from pathlib import Path

import numpy as np
import pytest

from service.adaptation_sets.labels import resolve
from service.adaptation_sets.registry import SetRegistry
from service.adaptation_sets.stored import StoredSet
from service.errors import InvalidSet
from service.schemas.adaptation_set import LabelMap
from tests.service.adaptation_sets.pictures import picture
from tests.service.archives.packing import pack


def stored(registry: SetRegistry, tmp_path: Path, classes: list[str], label_map: LabelMap | None = None) -> StoredSet:
    """A set with one image of each of ``classes``; its images are in the order of the sorted names."""
    members = {f"{name}/0.png": picture(index) for index, name in enumerate(classes)}
    return registry.open(registry.add(pack(tmp_path / "a", members), label_map).id)


def accepted(adaptation_set: StoredSet, names: list[str] | None, count: int) -> dict[str, tuple[int, ...]]:
    labels = resolve(adaptation_set, names, count)
    return {str(c[0]): a for c, a in zip(adaptation_set.accepted, labels.accepted, strict=True)}


def test_folders_are_matched_with_label_names(registry: SetRegistry, tmp_path: Path) -> None:
    given = stored(registry, tmp_path, ["dog", "cat"])
    labels = resolve(given, ["bird", "cat", "dog"], 3)
    assert labels.columns == ((0,), (1,), (2,))
    assert labels.column_names == ("bird", "cat", "dog")
    assert accepted(given, ["bird", "cat", "dog"], 3) == {"cat": (1,), "dog": (2,)}


def test_integers_are_indices_by_value(registry: SetRegistry, tmp_path: Path) -> None:
    given = stored(registry, tmp_path, ["10", "2", "007", "0"])
    expected = {"0": (0,), "007": (7,), "2": (2,), "10": (10,)}
    assert accepted(given, None, 11) == expected
    assert accepted(given, [f"class {i}" for i in range(11)], 11) == expected


def test_label_names_that_are_numbers_come_first(registry: SetRegistry, tmp_path: Path) -> None:
    assert accepted(stored(registry, tmp_path, ["1", "2"]), ["2", "1", "0"], 3) == {"1": (1,), "2": (0,)}


def test_decomposed_label_names_match(registry: SetRegistry, tmp_path: Path) -> None:
    assert accepted(stored(registry, tmp_path, ["caf\u00e9", "tea"]), ["tea", "cafe\u0301"], 2) == {
        "caf\u00e9": (1,),
        "tea": (0,),
    }


@pytest.mark.parametrize(
    ("classes", "names", "count", "wrong"),
    [
        (["cat", "yak"], ["cat", "dog"], 2, "'yak'"),
        (["cat", "dog"], None, 2, "'cat'"),
        (["1", "dog"], None, 2, "'1'"),
        (["0", "2"], None, 2, "class 2"),
        (["0", "99999999999"], None, 2, "'0'"),
        (["crane", "cat"], ["crane", "cat", "crane"], 3, "'crane'"),
    ],
)
def test_unknown_classes_are_named(
    *, registry: SetRegistry, tmp_path: Path, classes: list[str], names: list[str] | None, count: int, wrong: str
) -> None:
    with pytest.raises(InvalidSet) as caught:
        resolve(stored(registry, tmp_path, classes), names, count)
    assert caught.value.code == "unknown_class"
    assert wrong in caught.value.detail


def test_columns_of_a_label_map_are_its_classes_by_value(registry: SetRegistry, tmp_path: Path) -> None:
    label_map: LabelMap = {"10": 0, "9": [3, 1], "bear": ["cat", 2], "unused": "dog"}
    given = stored(registry, tmp_path, ["10", "bear", "9"], label_map)
    labels = resolve(given, ["a", "b", "cat", "dog"], 4)
    assert labels.columns == ((1, 3), (0,), (2,), (3,))
    assert labels.column_names == ("9", "10", "bear", "unused")
    assert dict(zip((c[0] for c in given.accepted), labels.accepted, strict=True)) == {
        "9": (0,),
        "10": (1,),
        "bear": (2,),
    }


def test_classes_mapped_to_the_same_share_a_column(registry: SetRegistry, tmp_path: Path) -> None:
    given = stored(registry, tmp_path, ["kitten", "cat", "dog"], {"kitten": 0, "cat": [0], "dog": 1})
    labels = resolve(given, None, 2)
    assert labels.columns == ((0,), (1,))
    assert labels.column_names == ("cat/kitten", "dog")
    assert accepted(given, None, 2) == {"cat": (0,), "kitten": (0,), "dog": (1,)}


@pytest.mark.parametrize("target", ["yak", 4, -1, [0, 4], ["a", "yak"]])
def test_targets_that_the_model_lacks_are_refused(registry: SetRegistry, tmp_path: Path, target: object) -> None:
    label_map: LabelMap = {"cat": target, "dog": 1}  # type: ignore[dict-item]
    with pytest.raises(InvalidSet) as caught:
        resolve(stored(registry, tmp_path, ["cat", "dog"], label_map), ["a", "b", "c", "d"], 4)
    assert caught.value.code == "unknown_class"


def test_a_map_onto_one_column_is_refused(registry: SetRegistry, tmp_path: Path) -> None:
    with pytest.raises(InvalidSet) as caught:
        resolve(stored(registry, tmp_path, ["cat", "dog"], {"cat": 1, "dog": 1}), None, 2)
    assert caught.value.code == "one_class"


def test_two_names_of_one_index_are_one_class(registry: SetRegistry, tmp_path: Path) -> None:
    with pytest.raises(InvalidSet) as caught:
        resolve(stored(registry, tmp_path, ["7", "07"]), None, 10)
    assert caught.value.code == "one_class"


def test_a_subset_of_a_thousand_classes(registry: SetRegistry, tmp_path: Path) -> None:
    """ImageNet-A and -R: folders are WordNet ids, and only their 200 logits compete."""
    maps = json.loads(Path("lab/data/label_maps.json").read_text())
    subset = {maps["wnids"][index]: index for index in maps["imagenet_a"]}
    given = stored(registry, tmp_path, [maps["wnids"][index] for index in maps["imagenet_a"][5:8]], subset)
    labels = resolve(given, None, 1000)
    assert len(labels.columns) == 200
    assert [labels.columns[columns[0]][0] for columns in labels.accepted] == maps["imagenet_a"][5:8]


def test_images_that_all_accept_one_class_are_refused(registry: SetRegistry, tmp_path: Path) -> None:
    images = np.zeros((2, 4, 4), np.uint8)
    with (tmp_path / "a").open("wb") as file:
        np.savez(file, images=images, labels=np.array([[3, 1], [1, 2]]))
    with pytest.raises(InvalidSet, match="accept the class 'b'") as caught:
        resolve(registry.open(registry.add(tmp_path / "a").id), ["a", "b", "c", "d"], 4)
    assert caught.value.code == "one_class"
