"""Studies whose clean images are a set that exists already, in another layout than IDX."""

import json
import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lab.data.archives import encode_png
from lab.study.config import StudyConfig
from lab.study.inputs import set_arrays, set_part
from lab.study.jobs import AttackJob
from lab.study.plan import stack_input
from lab.study.report import write_report
from lab.study.results import load_results
from lab.study.run import StudyRun
from lab.study.store import Store
from soupsearch.cli.scoring import encoded_set
from soupsearch.cli.study import _read_archive
from tests.inputs import zip_of
from tests.lab.study.conftest import NAMES, RESNET, TINY, computed, files, run_of, stored_set, write_study
from tests.lab.study.layouts import write_cifar10_c, write_class_folders
from tests.lab.training.recipes import fashion
from tests.soupsearch.cli.commands import exit_code
from workers.attacks.attack import Attack
from workers.attacks.threat import Threat
from workers.evaluation.evaluator import Evaluator
from workers.soups.stack import IngredientStack

FOLDERS = [RESNET / name for name in NAMES]
SUBSET = {"bag": 8, "coat": 4, "low_shoes": [5, 7], "high_shoes": 9}
GROUPS = {8: "bag", 4: "coat", 5: "low_shoes", 7: "low_shoes", 9: "high_shoes"}


class Stored:
    """A study without idx images, run once: class folders are clean, CIFAR-10-C's arrays are shifts."""

    def __init__(self, folder: Path) -> None:
        shifts = write_cifar10_c(folder / "shifts")
        sets: list[dict[str, Any]] = [
            {"name": f"c-{severity}", "layout": "cifar10_c", "folder": str(shifts)}
            | {"corruption": "contrast", "severity": severity}
            for severity in (1, 3, 5)
        ]
        clean = {"name": "clean", "layout": "class_folders", "folder": str(write_class_folders(folder / "clean"))}
        shutil.copytree(RESNET / "l1", folder / "max")
        pantry = TINY["pantries"][0] | {"max": str(folder / "max")}
        data = {"sets": [*sets, clean], "selection": 30, "held_out": 20}
        self.config = StudyConfig.load(write_study(folder / "study.yaml", data=data, pantries=[pantry]))
        self.run, _ = run_of(self.config, folder / "out")
        [self.plan] = self.run.compute()
        self.results = load_results(self.config, self.plan, self.run.store)
        write_report(self.config, [self.results], folder / "out")
        self.numbers = json.loads((folder / "out/numbers.json").read_text("utf-8"))


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Stored:
    return Stored(tmp_path_factory.mktemp("stored"))


def test_the_set_named_clean_is_attacked(stored: Stored) -> None:
    assert [shift.name for shift in stored.plan.scores] == ["clean", "c-1", "c-3", "c-5"]
    assert {row["metric"] for row in stored.numbers["curves"]} == {"clean", "Linf:0.1", "L2:1.5", "L1:12.0", "union"}
    assert stored.numbers["simplices"]
    images = stored_set(stored.plan.scores[next(iter(stored.plan.scores))][0].images, stored.run.store)
    outcome = Evaluator(IngredientStack.from_folders(FOLDERS), [images]).evaluate((1, 0, 0, 0))
    expected = outcome.sets[0].right[:8].mean()
    [first] = [row for row in stored.numbers["curves"] if (row["w"], row["metric"]) == (0.0, "clean")]
    assert first["accuracy"] == pytest.approx(expected)


def test_tables_have_a_clean_column_and_claims_under_attack_are_measured(stored: Stored) -> None:
    groups = {row["group"]: row["sets"] for row in stored.numbers["comparison"]}
    assert groups == {
        "clean": 1, "severity 1": 1, "severity 3": 1, "severity 5": 1, "strong shifts": 1, "all shifts": 3,
    }  # fmt: skip
    claims = {claim["number"]: claim for claim in stored.numbers["claims"]}
    for number in ("1a", "1b", "2", "3a", "3b", "4", "5a", "5c", "6a", "7a", "9a"):
        assert claims[number]["value"] is not None
    assert claims["5b"]["verdict"] == "not measured"


def read_by(config: StudyConfig, out: Path) -> StudyRun:
    """A run that reads archives as the command does."""
    return replace(run_of(config, out)[0], read_archive=_read_archive)


def study_of(tmp_path: Path, archive: Path, **changes: Any) -> StudyConfig:
    data = {"sets": [{"name": "clean", "archive": str(archive)}], "selection": 4, "held_out": 4}
    return StudyConfig.load(write_study(tmp_path / "study.yaml", data=data, **changes))


def test_clean_images_with_several_labels_are_refused_before_anything_is_scored(tmp_path: Path) -> None:
    data = fashion(8)
    labels = np.stack([data.labels, np.where(np.arange(8) < 3, (data.labels + 1) % 10, -1)], axis=1)
    np.savez(tmp_path / "clean.npz", images=data.images[:, 0], labels=labels)
    run = read_by(study_of(tmp_path, tmp_path / "clean.npz"), tmp_path / "out")
    with pytest.raises(ValueError, match="3 of 8 images of the set 'clean' have several accepted labels"):
        run.compute()
    assert not any(name.startswith(("scores/", "attacks/")) for name in files(run))
    run = read_by(study_of(tmp_path, tmp_path / "clean.npz", attacks=None), tmp_path / "out")
    run.compute()
    assert any(name.startswith("scores/") for name in files(run))


@pytest.fixture
def subset(tmp_path: Path) -> Path:
    """An archive of 18 images, in which four groups of classes compete."""
    data = fashion(40)
    chosen = [(index, GROUPS[label]) for index, label in enumerate(data.labels.tolist()) if label in GROUPS]
    files = {f"{group}/{index:05}.png": encode_png(data.images[index].transpose(1, 2, 0)) for index, group in chosen}
    path = tmp_path / "subset.zip"
    path.write_bytes(zip_of(files | {"label_map.json": json.dumps(SUBSET).encode()}))
    return path


def test_progress_is_told_for_each_set_that_is_read(subset: Path, tmp_path: Path) -> None:
    told: list[tuple[str, int, int]] = []
    run = read_by(study_of(tmp_path, subset), tmp_path / "out")
    replace(run, on_progress=lambda *each: told.append(each)).prepare()
    assert told == [("reading sets", 1, 1)]


def test_an_attack_on_a_subset_of_classes_is_that_of_the_attack_command(
    subset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images = encoded_set(FOLDERS[0], subset)
    assert len(images.space) == 4
    store = Store(tmp_path)
    store.write("subset", set_arrays(images))
    attacks = (Attack(Threat("Linf", 0.1), steps=5), Attack(Threat("L1", 12.0), steps=5))
    part, soups = set_part(store, "subset"), ((1.0, 0.0, 0.0, 0.0),)
    made = computed(AttackJob("a", stack_input(FOLDERS, NAMES), part, soups, len(images), attacks, seed=0), store)
    chosen = ("--threat", "Linf:0.1", "--threat", "L1:12", "--steps", 5, "--seeds", 1, "--device", "cpu")
    assert exit_code("attack", FOLDERS[0], subset, *chosen, "--threads", 1, "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert made["clean"].mean() == told["clean"] > 0.5
    assert [robust.mean() for robust in made["robust"]] == [entry["robust"][0] for entry in told["threats"]]
    assert made["robust"].all(axis=0).mean() == told["union"][0]


def test_losses_need_enough_classes(subset: Path, tmp_path: Path) -> None:
    attacks = TINY["attacks"] | {"losses": ["ce", "targeted-dlr"]}
    run = read_by(study_of(tmp_path, subset, attacks=attacks), tmp_path / "out")
    assert run.prepare()
    merged = {"bag": [4, 8], "low_shoes": [5, 7], "high_shoes": 9, "coat": [4, 8]}
    with zipfile.ZipFile(subset) as archive:
        content = {name: archive.read(name) for name in archive.namelist()}
    subset.write_bytes(zip_of(content | {"label_map.json": json.dumps(merged).encode()}))
    run = read_by(study_of(tmp_path, subset, attacks=attacks), tmp_path / "out")
    with pytest.raises(ValueError, match="targeted-dlr needs 4 classes, and 3 compete"):
        run.prepare()
