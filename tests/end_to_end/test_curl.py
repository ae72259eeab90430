"""The whole of a user's work by curl alone, checked by code that shares nothing with the service."""

import io
import json
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors import safe_open
from safetensors.numpy import load_file

from tests.live import ROOT, LiveService
from tests.waiting import wait_until

PANTRY = ROOT / "examples/pantries/fashion-resnet"
ADAPTATION_SET = ROOT / "examples/sets/fashion-low-contrast/adaptation.zip"
SEARCH = {"strategy": "grid", "lower": -0.4, "upper": 1.4, "step": 0.2}
REQUEST = {"pantry": "fashion", "preset": "paper", "objective": {"metric": "accuracy"}, "search": SEARCH}


def curl(*arguments: str) -> str:
    run = subprocess.run(["curl", "-sS", "--fail-with-body", *arguments], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
    return run.stdout


@pytest.fixture(scope="module")
def job(service: LiveService) -> dict[str, Any]:
    accepted = json.loads(
        curl(
            "-F", f"request={json.dumps(REQUEST)};type=application/json",
            "-F", f"adaptation_set=@{ADAPTATION_SET}",
            f"{service.url}/adapt",
        )
    )  # fmt: skip
    assert accepted["status"] == "queued"
    assert accepted["is_terminal"] is False
    url = f"{service.url}/jobs/{accepted['id']}"
    return dict(wait_until(lambda: (found := json.loads(curl(url)))["is_terminal"] and found, timeout=240))


@pytest.fixture(scope="module")
def model_file(job: dict[str, Any], service: LiveService, tmp_path_factory: pytest.TempPathFactory) -> Path:
    target = tmp_path_factory.mktemp("model") / "model.safetensors"
    curl("-o", str(target), f"{service.url}/jobs/{job['id']}/model")
    return target


def labelled_images(archive: Path, names: list[str]) -> tuple[torch.Tensor, torch.Tensor]:
    images, labels = [], []
    with zipfile.ZipFile(archive) as content:
        for member in (name for name in content.namelist() if name.endswith(".png")):
            images.append(np.asarray(Image.open(io.BytesIO(content.read(member))).convert("L"), dtype=np.float32) / 255)
            labels.append(names.index(member.split("/")[-2]))
    return torch.from_numpy(np.stack(images)).unsqueeze(1), torch.tensor(labels)


def accuracy_and_nll(folder: Path, archive: Path) -> tuple[float, float]:
    names = json.loads((folder / "config.json").read_text())["label_names"]
    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    images, labels = labelled_images(archive, names)
    mean, std = model.pretrained_cfg["mean"][0], model.pretrained_cfg["std"][0]
    with torch.inference_mode():
        logits = model((images - mean) / std)
    nll = torch.nn.functional.cross_entropy(logits.double(), labels)
    return float((logits.argmax(1) == labels).double().mean()), float(nll)


def test_the_job_succeeds_with_a_soup_that_beats_every_ingredient(job: dict[str, Any]) -> None:
    assert job["status"] == "succeeded", job["error"]
    result = job["result"]
    assert result["metric"] == "accuracy"
    assert sum(result["weights"].values()) == pytest.approx(1.0)
    assert set(result["weights"]) == {"linf", "l2", "l1", "nominal"}
    assert result["score"] >= max(baseline["score"] for baseline in result["baselines"]["ingredients"].values())
    assert result["interval"][0] <= result["score"] <= result["interval"][1]
    assert len(result["top"]) == 5
    assert result["top"][0]["score"] >= result["top"][4]["score"]


def test_the_score_is_that_of_an_independent_evaluation(
    job: dict[str, Any], service: LiveService, tmp_path: Path
) -> None:
    archive = tmp_path / "soup.zip"
    curl("-o", str(archive), f"{service.url}/jobs/{job['id']}/model?format=timm")
    with zipfile.ZipFile(archive) as content:
        content.extractall(tmp_path / "soup")
    folder = next((tmp_path / "soup").rglob("config.json")).parent
    accuracy, nll = accuracy_and_nll(folder, ADAPTATION_SET)
    assert job["result"]["score"] == pytest.approx(accuracy, abs=1e-12)
    assert job["result"]["nll"] == pytest.approx(nll, abs=1e-4)
    for name, baseline in job["result"]["baselines"]["ingredients"].items():
        accuracy, nll = accuracy_and_nll(PANTRY / name, ADAPTATION_SET)
        assert (baseline["score"], baseline["nll"]) == pytest.approx((accuracy, nll), abs=1e-4)


def test_the_weights_are_the_affine_combination(job: dict[str, Any], model_file: Path) -> None:
    soup = load_file(model_file)
    ingredients = {name: load_file(PANTRY / name / "model.safetensors") for name in job["result"]["weights"]}
    for key, tensor in soup.items():
        if tensor.dtype != np.float32:
            continue
        expected = sum(
            weight * ingredients[name][key].astype(np.float64) for name, weight in job["result"]["weights"].items()
        )
        if key.endswith("running_var"):
            expected = np.where(expected > 0, expected, tensor)
        np.testing.assert_allclose(tensor, expected, rtol=1e-6, atol=1e-6)


def test_the_file_says_how_it_was_made(job: dict[str, Any], model_file: Path) -> None:
    with safe_open(model_file, framework="np") as file:
        manifest = json.loads(file.metadata()["soupsearch"])
    text = json.dumps(manifest)
    assert job["request"]["pantry_digest"] in text
    assert job["request"]["adaptation_sets"][0] in text


def test_every_point_is_listed_once(job: dict[str, Any], service: LiveService) -> None:
    points, after = [], ""
    while True:
        page = json.loads(curl(f"{service.url}/jobs/{job['id']}/points?limit=100{after}"))
        points += page["items"]
        if page["next"] is None:
            break
        after = f"&after={page['next']}"
    assert len(points) == 480 == len({tuple(point["weights"]) for point in points})
    assert sorted(point["index"] for point in points) == list(range(480))
    assert all(sum(point["weights"]) == pytest.approx(1.0) for point in points)
    assert any(point["floored_channels"] for point in points)
    assert max(point["score"] for point in points if point["finite"]) == job["result"]["top"][0]["score"]


def test_points_come_as_csv_too(job: dict[str, Any], service: LiveService) -> None:
    lines = curl(f"{service.url}/jobs/{job['id']}/points?format=csv").splitlines()
    assert len(lines) == 481


def test_the_stream_of_events_ends_with_the_job(job: dict[str, Any], service: LiveService) -> None:
    stream = curl("--max-time", "30", f"{service.url}/jobs/{job['id']}/events")
    assert "event: best" in stream
    assert "event: end" in stream


def test_the_download_resumes(job: dict[str, Any], service: LiveService, model_file: Path, tmp_path: Path) -> None:
    part = tmp_path / "model.safetensors"
    whole = model_file.read_bytes()
    part.write_bytes(whole[: len(whole) // 2])
    curl("-C", "-", "-o", str(part), f"{service.url}/jobs/{job['id']}/model")
    assert part.read_bytes() == whole
