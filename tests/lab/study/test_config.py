import shutil
from pathlib import Path
from typing import Any

import pytest

from lab.data.corruptions import NAMES
from lab.study.config import MAX, SAT, StudyConfig
from lab.study.shifts import corrupted_shifts, stored_shift
from tests.lab.study.conftest import RESNET, TINY, MakeStudy
from tests.live import ROOT

SHIPPED = sorted((ROOT / "examples/studies").glob("*.yaml"))


@pytest.mark.parametrize("path", SHIPPED, ids=lambda path: path.name)
def test_shipped_studies_are_valid_and_name_shipped_pantries(path: Path) -> None:
    config = StudyConfig.load(path)
    assert config.name == path.stem
    available, _ = config.available()
    assert (available.pantries[0].folder / "linf/model.safetensors").is_file()
    assert available.pantries[0].folder.resolve() == ROOT / "examples/pantries/fashion-resnet"


def test_the_full_study_has_all_75_corruptions_and_both_architectures() -> None:
    config = StudyConfig.load(ROOT / "examples/studies/fashion.yaml")
    assert len([shift for shift in corrupted_shifts(config.data) if shift.corruption in NAMES]) == 75
    whole = [pantry for pantry in config.pantries if pantry.severities is None]
    assert {pantry.architecture for pantry in whole} == {"ResNet", "ViT"}


def test_paths_start_at_the_study(make_study: MakeStudy, tmp_path: Path) -> None:
    pantry = {"name": "a", "architecture": "A", "folder": "pantry", "max": "../max"}
    config = make_study(pantries=[pantry])
    assert config.pantries[0].folder == tmp_path / "pantry"
    assert config.pantries[0].comparison == {MAX: tmp_path / "../max"}


def test_pairs_and_triples_are_all_of_them_by_default(make_study: MakeStudy) -> None:
    config = make_study(attacks={"images": 8})
    assert (len(config.pairs), len(config.triples)) == (6, 4)
    assert make_study(attacks=None).pairs == ()


def test_what_is_not_there_can_be_left_out(make_study: MakeStudy, tmp_path: Path) -> None:
    (tmp_path / "b").mkdir()
    shutil.copytree(RESNET / "linf", tmp_path / "b/linf")
    there = TINY["pantries"][0] | {"max": str(tmp_path / "b"), "sat": str(RESNET / "l1")}
    config = make_study(pantries=[there, {"name": "b", "architecture": "B", "folder": "b"}])
    available, missing = config.available()
    assert missing == ["max of resnet", "pantry b, which lacks l2, l1, nominal"]
    assert [list(pantry.comparison) for pantry in available.pantries] == [[SAT]]
    with pytest.raises(ValueError, match="no pantry has all its ingredients"):
        make_study(pantries=[{"name": "b", "architecture": "B", "folder": "nowhere"}]).available()


def test_some_pantries_may_be_studied_alone(make_study: MakeStudy) -> None:
    config = make_study(pantries=[TINY["pantries"][0], TINY["pantries"][0] | {"name": "second"}])
    assert [pantry.name for pantry in config.only(["second"]).pantries] == ["second"]
    with pytest.raises(ValueError, match="it has resnet, second"):
        config.only(["third"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"ingredients": {"linf": "Linf:0.1"}}, "at least 2"),
        ({"ingredients": {"linf": "Linf", "nominal": "clean"}}, r"ingredients\.linf: 'Linf' is not a threat model"),
        ({"lattice": {"lower": 0.0, "upper": 0.2, "step": 0.1}}, "choose lower and step"),
        ({"data": {}}, "an idx folder, sets, or both"),
        ({"data": {"idx": "x", "corruptions": ["fogg"]}}, "no corruption 'fogg'"),
        ({"data": {"idx": "x", "severities": [6]}}, "must be at most 5, not 6"),
        ({"data": {"sets": [{"name": "a"}]}}, "either an archive or a layout"),
        ({"data": {"sets": [{"name": "a", "layout": "imagenet"}]}}, "needs a folder"),
        ({"data": {"sets": [{"name": "a", "layout": "imagenet_c", "folder": "x"}]}}, "a corruption and a severity"),
        ({"data": {"sets": [{"name": "a", "archive": "x.zip"}] * 2}}, "names of the sets must be different"),
        (
            {"data": TINY["data"] | {"sets": [{"name": "clean", "archive": "x.zip"}]}},
            "the idx images are the set 'clean'",
        ),
        ({"data": {"sets": [{"name": "a", "archive": "x.zip"}]}}, "an idx folder or a set named 'clean'"),
        (
            {"data": {"sets": [{"name": "clean", "archive": "x.zip", "corruption": "fog"}]}},
            "'clean' names a corruption",
        ),
        ({"data": {"sets": [{"name": "a", "layout": "imagenet_real", "folder": "x"}]}}, "labels is for the real.json"),
        ({"data": {"sets": [{"name": "a", "archive": "x.zip", "labels": "y"}]}}, "labels is for the real.json"),
        ({"data": TINY["data"] | {"sets": [{"name": "contrast-5", "archive": "x.zip"}]}}, "the name of a corruption"),
        ({"attacks": {"pairs": [["linf", "l3"]]}}, "ingredients that the study does not have: l3"),
        ({"attacks": {"losses": ["cw"]}}, "losses"),
        ({"attacks": {"steps": 2}}, "too few for larger radii"),
        ({"pantries": [TINY["pantries"][0]] * 2}, "two pantries have one name"),
        ({"few_shots": {}}, "few_shots"),
    ],
)
def test_a_study_that_cannot_be_run_is_refused(make_study: MakeStudy, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_study(**changes)


def test_a_wrong_field_is_named_by_its_path_and_told_in_words(make_study: MakeStudy, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="few_shot") as caught:
        make_study(ingredients={"linf": "Linf:0", "nominal": "clean"}, few_shot={"draws": 1})
    problems = str(caught.value).removeprefix(f"{tmp_path / 'study.yaml'}: ").split("; ")
    assert problems == [
        "ingredients.linf: eps must be a positive finite number, not 0.0",
        "few_shot.draws must be at least 2, not 1",
    ]


def test_a_set_may_have_the_name_of_a_corruption_that_is_not_made(make_study: MakeStudy) -> None:
    named = {"sets": [{"name": "contrast-4", "archive": "x.zip"}, {"name": "idx", "archive": "y.zip"}]}
    data = make_study(data=TINY["data"] | named).data
    shifts = [*corrupted_shifts(data), *map(stored_shift, data.sets)]
    assert len({shift.name for shift in shifts}) == len(shifts)
    assert [shift.family for shift in shifts].count("idx") == 1
    assert make_study(data=named | {"corruptions": ["contrast"]}, attacks=None).data.corrupted_names == ()


def test_another_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.yaml does not exist: give the path of a study"):
        StudyConfig.load(tmp_path / "none.yaml")
    (tmp_path / "list.yaml").write_text("- 1\n", "utf-8")
    with pytest.raises(ValueError, match="is not a study"):
        StudyConfig.load(tmp_path / "list.yaml")
    (tmp_path / "broken.yaml").write_text("a: [", "utf-8")
    with pytest.raises(ValueError, match="is not YAML"):
        StudyConfig.load(tmp_path / "broken.yaml")
