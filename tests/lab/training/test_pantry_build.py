from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm

from lab.training.pantry_build import RECORD, build_pantry
from lab.training.progress import TrainingProgress
from tests.lab.training.recipes import ADVERSARIAL, tiny_pantry


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


class Interruption(Exception):
    """Stops a build where a kill would."""


def test_builds_each_ingredient_with_its_record(tmp_path: Path, small_fashion: Path) -> None:
    seen: set[str] = set()
    folders = build_pantry(tiny_pantry(small_fashion), tmp_path, on_progress=lambda name, _: seen.add(name))
    assert [folder.name for folder in folders] == ["linf", "nominal"]
    assert seen == {"linf", "nominal"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["linf", "nominal"]
    record = json.loads((tmp_path / "nominal" / RECORD).read_text())
    assert record["fine_tuned_from"] == "linf"
    assert record["recipe"]["seed"] == 5
    assert record["data"]["images"] == 320
    assert [threat["norm"] for threat in record["test"]["threats"]] == ["Linf", "L1"]
    assert record["test"]["clean"] >= record["test"]["threats"][0]["robust"][0] >= record["test"]["union"][0]
    assert timm.create_model(f"local-dir:{tmp_path / 'linf'}", pretrained=True).num_classes == 10


def test_a_second_build_trains_nothing(tmp_path: Path, small_fashion: Path) -> None:
    first = {folder: weights(folder) for folder in build_pantry(tiny_pantry(small_fashion), tmp_path)}
    seen: list[TrainingProgress] = []
    again = build_pantry(tiny_pantry(small_fashion), tmp_path, on_progress=lambda _, progress: seen.append(progress))
    assert not seen
    assert {folder: weights(folder) for folder in again} == first


def test_an_interrupted_build_ends_as_an_uninterrupted_one(tmp_path: Path, small_fashion: Path) -> None:
    def stop(name: str, progress: TrainingProgress) -> None:
        if name == "nominal" and progress.step == 4:
            raise Interruption

    with pytest.raises(Interruption):
        build_pantry(tiny_pantry(small_fashion), tmp_path / "a", on_progress=stop)
    interrupted = build_pantry(tiny_pantry(small_fashion), tmp_path / "a")
    undisturbed = build_pantry(tiny_pantry(small_fashion), tmp_path / "b")
    assert [weights(folder) for folder in interrupted] == [weights(folder) for folder in undisturbed]


def test_only_trains_what_is_named_and_its_base(tmp_path: Path, small_fashion: Path) -> None:
    recipe = tiny_pantry(small_fashion, fine_tunes={"a": ADVERSARIAL, "b": ADVERSARIAL})
    assert [folder.name for folder in build_pantry(recipe, tmp_path, only={"b"})] == ["linf", "b"]


def test_an_unknown_ingredient_is_refused(tmp_path: Path, small_fashion: Path) -> None:
    with pytest.raises(ValueError, match="no ingredient l3: it has linf, nominal"):
        build_pantry(tiny_pantry(small_fashion), tmp_path, only={"l3"})


def test_an_ingredient_of_another_recipe_is_not_overwritten(tmp_path: Path, small_fashion: Path) -> None:
    (folder,) = build_pantry(tiny_pantry(small_fashion), tmp_path, only={"linf"})
    before = weights(folder)
    with pytest.raises(ValueError, match="another recipe"):
        build_pantry(tiny_pantry(small_fashion, base={"linf": ADVERSARIAL | {"seed": 8}}), tmp_path)
    assert weights(folder) == before
