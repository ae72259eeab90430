"""The command line against a real service."""

import json
from pathlib import Path

import pytest
import timm

from tests.live import ROOT, LiveService

SETS = ROOT / "examples/sets/fashion-salt-and-pepper"


@pytest.fixture(scope="module")
def adapted(service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("adapted") / "model"
    run = service.cli("adapt", SETS / "adaptation.zip", "--pantry", "fashion", "--out", out, "--held-out", "0.3")
    assert run.returncode == 0, run.stderr
    assert "best soup" in run.stdout
    assert "nominal" in run.stdout
    return out


def test_adapt_leaves_a_folder_that_timm_loads(adapted: Path) -> None:
    assert timm.create_model(f"local-dir:{adapted}", pretrained=True).num_classes == 10
    result = json.loads((adapted / "result.json").read_text())["result"]
    assert result["held_out"]["images"] == 30
    assert result["cost"]["images"] == 70


def test_evaluate_scores_the_folder_on_other_images(adapted: Path, service: LiveService) -> None:
    run = service.cli("evaluate", adapted, SETS / "held_out.zip", "--json")
    assert run.returncode == 0, run.stderr
    score = json.loads(run.stdout)
    assert score["interval"][0] <= score["accuracy"] <= score["interval"][1]
    assert 0.3 < score["accuracy"] < 1.0


def test_reproduce_makes_the_same_bytes(adapted: Path, service: LiveService) -> None:
    run = service.cli("reproduce", adapted / "model.safetensors")
    assert run.returncode == 0, run.stderr
    assert "same" in run.stdout


def test_reproduce_notices_a_changed_weight(adapted: Path, service: LiveService, tmp_path: Path) -> None:
    changed = bytearray((adapted / "model.safetensors").read_bytes())
    changed[-100] ^= 1
    (tmp_path / "model.safetensors").write_bytes(changed)
    run = service.cli("reproduce", tmp_path / "model.safetensors")
    assert run.returncode == 1
    assert "differ" in run.stderr


def test_a_refined_soup_is_found_explained_and_made_again(service: LiveService, tmp_path: Path) -> None:
    images, out = SETS / "adaptation.zip", tmp_path / "model"
    refine = ("--refine-statistics", "auto", "--refine-head", "keep", "--temperature")
    run = service.cli("adapt", images, "--pantry", "fashion", "--strategy", "uniform", *refine, "--out", out)
    assert run.returncode == 0, run.stderr
    assert "adapted statistics" in run.stdout
    assert "refitted last layer" in run.stdout
    result = json.loads((out / "result.json").read_text())["result"]
    assert result["refinement"]["statistics"] == "adapted"
    assert result["summary"] in " ".join(run.stdout.split())
    model = out / "model.safetensors"
    for given in ((), ("--adaptation-set", images)):
        again = service.cli("reproduce", model, *given)
        assert again.returncode == 0, again.stderr
    ingredients = ("--pantry", ROOT / "examples/pantries/fashion-resnet")
    other = service.cli("reproduce", model, *ingredients, "--adaptation-set", SETS / "held_out.zip")
    assert other.returncode == 1
    assert "other images" in other.stderr


def test_jobs_lists_what_ran(adapted: Path, service: LiveService) -> None:
    job_id = json.loads((adapted / "result.json").read_text())["id"]
    assert job_id in service.cli("jobs").stdout
    items = json.loads(service.cli("jobs", "--status", "succeeded", "--json").stdout)["items"]
    assert job_id in {item["id"] for item in items}


def test_a_folder_of_class_folders_is_a_set(adapted: Path, service: LiveService, tmp_path: Path) -> None:
    import zipfile

    with zipfile.ZipFile(SETS / "adaptation.zip") as archive:
        archive.extractall(tmp_path / "set")
    run = service.cli("adapt", tmp_path / "set", "--pantry", "fashion", "--convex", "--json")
    assert run.returncode == 0, run.stderr
    job = json.loads(run.stdout)
    assert job["result"]["cost"]["evaluations"] == 56
    assert min(job["result"]["weights"].values()) >= 0.0


def test_several_sets_give_the_single_soup(service: LiveService) -> None:
    archives = [ROOT / f"examples/sets/fashion-{shift}/adaptation.zip" for shift in ("rotation", "low-contrast")]
    run = service.cli("adapt", *archives, "--pantry", "fashion", "--convex", "--over-sets", "worst", "--json")
    assert run.returncode == 0, run.stderr
    result = json.loads(run.stdout)["result"]
    assert result["score"] == min(score["score"] for score in result["per_set"].values())


def test_mistakes_end_in_a_message_and_a_code(service: LiveService, tmp_path: Path) -> None:
    unknown = service.cli("adapt", SETS / "adaptation.zip", "--pantry", "nothing")
    assert unknown.returncode == 1
    assert "nothing" in unknown.stderr
    assert "Traceback" not in unknown.stderr
    missing = service.cli("adapt", tmp_path / "none.zip", "--pantry", "fashion")
    assert missing.returncode == 1
    assert "none.zip" in missing.stderr
    nobody = service.cli("jobs", "--url", "http://127.0.0.1:9")
    assert nobody.returncode == 3
    assert "soupsearch serve" in nobody.stderr


def test_pantries_can_be_added_shown_and_removed(service: LiveService) -> None:
    folders = [ROOT / f"examples/pantries/fashion-resnet/{name}" for name in ("linf", "nominal")]
    added = service.cli("pantry", "add", "pair", f"robust={folders[0]}", folders[1], "--url", service.url)
    assert added.returncode == 0, added.stderr
    shown = json.loads(service.cli("pantry", "show", "pair", "--url", service.url).stdout)
    assert [ingredient["name"] for ingredient in shown["ingredients"]] == ["robust", "nominal"]
    assert "pair" in service.cli("pantry", "list", "--url", service.url).stdout
    assert service.cli("pantry", "remove", "pair", "--url", service.url).returncode == 0
    assert service.cli("pantry", "show", "pair", "--url", service.url).returncode == 1
