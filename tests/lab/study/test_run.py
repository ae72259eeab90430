"""A whole small study of the shipped ResNet on real images."""

import csv
import json
import shutil
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from lab.study.config import INDEPENDENT_NOMINAL, MAX, StudyConfig
from lab.study.methods import LOGIT_ENSEMBLE, SINGLE, single_soup
from lab.study.plan import PantryPlan
from lab.study.report import columns_of, write_report
from lab.study.results import PantryResults, load_results
from lab.study.run import StudyRun
from tests.lab.study.conftest import NAMES, RESNET, TINY, MakeStudy, files, run_of, stored_set, write_study
from tests.live import ROOT
from workers.evaluation.baselines import evaluate_baselines
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.soups.stack import IngredientStack

LOADING = {"src", "href", "srcset", "data", "action", "xlink:href", "poster"}
STAND_INS = {"max": "l1", "nominal": "l2"}


class Addresses(HTMLParser):
    """Collects what a page would load, and the tags that load or run something."""

    def __init__(self) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.tags: set[str] = set()
        self.ids: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.ids += [value for name, value in attrs if name == "id" and value]
        self.loads += [value for name, value in attrs if name in LOADING and value and not value.startswith("#")]


class Whole:
    """A study that was run once."""

    def __init__(self, folder: Path) -> None:
        self.path = write_study(folder / "study.yaml", pantries=[_pantry(folder)])
        self.out = folder / "out"
        self.config = StudyConfig.load(self.path)
        self.run, _ = run_of(self.config, self.out)
        self.plans: list[PantryPlan] = self.run.compute()
        self.results: list[PantryResults] = [load_results(self.config, plan, self.run.store) for plan in self.plans]
        self.report = write_report(self.config, self.results, self.out)
        self.numbers = json.loads((self.out / "numbers.json").read_text("utf-8"))


def _pantry(folder: Path) -> dict[str, str]:
    """The shipped pantry, with ingredients in the places of a model trained on the union and of a nominal one."""
    for kind, ingredient in STAND_INS.items():
        shutil.copytree(RESNET / ingredient, folder / kind)
    apart = {kind: str(folder / kind) for kind in STAND_INS}
    return {"name": "resnet", "architecture": "ResNet", "folder": str(RESNET)} | apart


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Whole:
    return Whole(tmp_path_factory.mktemp("study"))


def test_the_report_loads_nothing_and_runs_nothing(whole: Whole) -> None:
    html = whole.report.read_text("utf-8")
    page = Addresses()
    page.feed(html)
    assert page.loads == []
    assert not page.tags & {"script", "link", "iframe", "object", "embed", "img", "image"}
    assert "@import" not in html
    assert html.count("url(") == html.count("url(#")
    assert len(page.ids) == len(set(page.ids))
    assert len(html) < 1_000_000
    assert page.tags >= {"svg", "table"}


def test_the_report_shows_every_figure_and_claim(whole: Whole) -> None:
    html = whole.report.read_text("utf-8")
    for figure in ("Figs 1, 2, 5", "Figs 3, 4, 10", "Fig 6", "Fig 7", "Table 1", "Fig 8", "Figs 9, 11"):
        assert figure in html
    assert html.count("<svg") == 6
    assert "APGD on ce, 3 steps, larger radii first for L1" in html
    numbers = [claim["number"] for claim in whole.numbers["claims"]]
    assert numbers == sorted(numbers)
    assert set("123456789") <= {number[0] for number in numbers}


def test_the_report_says_in_which_precision_soups_were_scored(whole: Whole, tmp_path: Path) -> None:
    for precision in ("float32", "bfloat16"):
        config = whole.config.model_copy(update={"precision": precision})
        html = write_report(config, whole.results, tmp_path).read_text("utf-8")
        assert f"scored once on every set, in {precision}" in html


def test_the_table_of_claims_tells_each_with_its_interval_note_and_verdict(whole: Whole) -> None:
    lines = (whole.out / "claims.md").read_text("utf-8").splitlines()[2:]
    for claim, line in zip(whole.numbers["claims"], lines, strict=True):
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        assert cells[0].startswith(f"{claim['number']} {claim['claim']}")
        assert cells[4] == f"**{claim['verdict']}**"
        if claim["low"] is not None:
            assert f"({claim['low']:+.2f} to {claim['high']:+.2f})" in cells[2]
            assert cells[2].endswith(claim["note"])


def test_tables_and_numbers_agree(whole: Whole) -> None:
    for name, rows in whole.numbers.items():
        if name != "study":
            with (whole.out / f"{name}.csv").open(encoding="utf-8") as file:
                reader = csv.DictReader(file)
                read = list(reader)
            assert reader.fieldnames == columns_of(name) == list(rows[0])
            assert len(read) == len(rows)
            assert [row.get("pantry") for row in read] == [row.get("pantry") for row in rows]


def test_a_report_on_a_full_disk_says_what_to_do(whole: Whole, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, mode="r", *more, **named: real(
            Path("/dev/full") if "w" in mode else path, mode, *more, **named
        ),
    )  # fmt: skip
    with pytest.raises(OSError, match="free some space, then give the same command again"):
        write_report(whole.config, whole.results, tmp_path / "full")
    assert list((tmp_path / "full").iterdir()) == []


def test_every_accuracy_has_an_interval_around_it(whole: Whole) -> None:
    for name in ("curves", "simplices", "shifts", "comparison"):
        rows = whole.numbers[name]
        assert rows
        assert all(row["low"] <= row["accuracy"] <= row["high"] for row in rows)


def test_figures_equal_a_direct_evaluation(whole: Whole) -> None:
    """Of ingredients and the single soup, on the held-out images of each set."""
    [plan] = whole.plans
    stack = IngredientStack.from_folders([RESNET / name for name in NAMES])
    single = single_soup(whole.results[0])
    rows = {(row["set"], row["method"]): row for row in whole.numbers["shifts"]}
    for shift, jobs in plan.scores.items():
        images = stored_set(jobs[0].images, whole.run.store)
        evaluator = Evaluator(stack, [images])
        for method, weights in {"linf": (1, 0, 0, 0), "nominal": (0, 0, 0, 1), "single soup": single}.items():
            correct = evaluator.evaluate(weights).sets[0].right
            assert rows[shift.name, method]["accuracy"] == pytest.approx(correct[30:].mean(), abs=1e-5)


def test_a_comparison_model_scores_as_itself(whole: Whole) -> None:
    rows = {(row["set"], row["method"]): row["accuracy"] for row in whole.numbers["shifts"]}
    sets = {name for name, _ in rows}
    assert len(sets) == 7
    assert all(rows[name, MAX] == rows[name, "l1"] for name in sets)
    assert all(rows[name, INDEPENDENT_NOMINAL] == rows[name, "l2"] for name in sets)
    robust = {row["metric"]: row["accuracy"] for row in whole.numbers["models"] if row["model"] == MAX}
    ends = [row for row in whole.numbers["curves"] if row["w"] == 1.0]
    assert robust == {row["metric"]: row["accuracy"] for row in ends}


def test_the_logit_ensemble_is_that_of_the_baselines(whole: Whole) -> None:
    """As jobs score it, on the images held out; it stands in the comparison once for each group of sets."""
    rows = {(row["set"], row["method"]): row["accuracy"] for row in whole.numbers["shifts"]}
    for shift, jobs in whole.plans[0].scores.items():
        evaluator = Evaluator(
            IngredientStack.from_folders([RESNET / name for name in NAMES]),
            [stored_set(jobs[0].images, whole.run.store)],
        )
        baselines = evaluate_baselines(LocalExecutor(evaluator), len(NAMES), evaluator.sets, attacked=False)
        assert baselines.logit_ensemble is not None
        correct = baselines.logit_ensemble.sets[0].right
        assert rows[shift.name, LOGIT_ENSEMBLE] == pytest.approx(correct[30:].mean(), abs=1e-5)
    compared = [row["group"] for row in whole.numbers["comparison"] if row["method"] == LOGIT_ENSEMBLE]
    assert compared == [row["group"] for row in whole.numbers["comparison"] if row["method"] == SINGLE]


def test_a_study_that_keeps_the_ingredients_logits_alone_has_the_same_ensembles(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.out / "cache/sets", tmp_path / "out/cache/sets")
    config = whole.config.model_copy(update={"logits": "ingredients", "attacks": None})
    run, _ = run_of(config, tmp_path / "out")
    [plan] = run.compute()
    for kept, other in zip(load_results(config, plan, run.store).tables, whole.results[0].tables, strict=True):
        assert {name: row.tolist() for name, row in kept.others.items()} == {
            name: row.tolist() for name, row in other.others.items()
        }


def test_the_union_is_decided_for_each_image(whole: Whole) -> None:
    robust = whole.results[0].robust
    assert robust is not None
    for outcome in robust.soups.values():
        assert np.array_equal(outcome[-1], outcome[1:-1].all(axis=0))
        assert not (outcome[1:] & ~outcome[0]).any()


def test_all_shifts_show_the_same_images(whole: Whole) -> None:
    labels = [jobs[0].images.accepted for jobs in whole.plans[0].scores.values()]
    assert all(each == labels[0] for each in labels)
    assert labels[0] is not None
    assert len(set(labels[0])) > 5


def written(run: StudyRun) -> dict[str, int]:
    return {name: run.store.path(name).stat().st_mtime_ns for name in files(run)}


def test_a_finished_study_starts_no_evaluator_and_writes_nothing(whole: Whole) -> None:
    before = written(whole.run)
    run, here = run_of(whole.config, whole.out)
    run.compute()
    assert here.starts == 0
    assert written(run) == before


def test_only_what_is_missing_is_computed(whole: Whole, tmp_path: Path) -> None:
    shutil.copytree(whole.out, tmp_path / "out")
    run, here = run_of(whole.config, tmp_path / "out")
    before = written(run)
    lost = sorted(name for name in before if name.startswith(("attacks/", "scores/resnet/contrast-5")))[::2]
    for name in lost:
        run.store.path(name).unlink()
    [plan] = run.compute()
    assert here.starts == 1
    after = written(run)
    assert after.keys() == before.keys()
    assert sorted(name for name in after if after[name] != before[name]) == lost
    write_report(run.config, [load_results(run.config, plan, run.store)], tmp_path / "again")
    assert json.loads((tmp_path / "again/numbers.json").read_text("utf-8")) == whole.numbers


def test_data_that_is_not_there_is_named(make_study: MakeStudy, tmp_path: Path) -> None:
    run, _ = run_of(make_study(data=TINY["data"] | {"idx": "nowhere"}), tmp_path / "out")
    with pytest.raises(FileNotFoundError, match="no test images"):
        run.compute()


def test_seeds_of_one_architecture_are_compared_on_common_sets(whole: Whole, tmp_path: Path) -> None:
    pantries = [TINY["pantries"][0], TINY["pantries"][0] | {"name": "second", "severities": [5]}]
    config = StudyConfig.load(write_study(tmp_path / "study.yaml", pantries=pantries))
    shutil.copytree(whole.out, tmp_path / "out")
    run, _ = run_of(config, tmp_path / "out")
    before = files(run)
    plans = run.compute()
    assert all("second" in name for name in files(run) - before)
    write_report(config, [load_results(config, plan, run.store) for plan in plans], tmp_path / "out")
    claims = json.loads((tmp_path / "out/numbers.json").read_text("utf-8"))["claims"]
    over = {claim["number"]: claim for claim in claims if claim["pantry"] == "ResNet, 2 seeds"}
    assert over["6a"]["measure"].endswith("mean over 2 sets")
    assert over["6a"]["low"] == over["6a"]["high"] == over["6a"]["value"]
    assert "9a" not in over


def test_sets_that_exist_already_take_part(make_study: MakeStudy, tmp_path: Path) -> None:
    from soupsearch.cli.study import _read_archive

    archive = ROOT / "examples/sets/fashion-rotation/adaptation.zip"
    data = {"sets": [{"name": "rotation", "archive": str(archive)}], "selection": 30, "held_out": 20}
    run = replace(run_of(make_study(data=data, attacks=None), tmp_path / "out")[0], read_archive=_read_archive)
    [plan] = run.compute()
    results = load_results(run.config, plan, run.store)
    assert [(t.shift.name, t.shift.family, t.correct.shape[1]) for t in results.tables] == [
        ("rotation", "rotation", 50)
    ]
    assert results.strong == results.tables
    assert write_report(run.config, [results], run.out).is_file()
    assert (run.out / "models.csv").read_text("utf-8") == "pantry,model,metric,accuracy,images\n"
