"""A front of soups under attack, from the request to a model of the user's choice in timm."""

import zipfile
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.numpy import load_file

from service.schemas.job import Job, JobStatus
from service.schemas.result import Result
from soupsearch.cli.scoring import encoded_set
from soupsearch.client import Client
from tests.live import ROOT, LiveService
from workers.attacks.attack import attacks_on
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import robust_accuracy
from workers.attacks.threat import Threat

pytestmark = pytest.mark.slow

PANTRY = ROOT / "examples/pantries/fashion-resnet"
EACH_CLASS = 2
THREATS: list[dict[str, Any]] = [
    {"norm": "Linf", "eps": 0.02, "steps": 10},
    {"norm": "L2", "eps": 0.3, "steps": 10},
    {"norm": "L1", "eps": 3, "steps": 10},
]
REQUEST = {
    "pantry": "fashion",
    "objectives": [
        {"name": "clean"},
        {"name": "union", "metric": "robust_accuracy", "threats": THREATS, "over_threats": "union"},
    ],
    "search": {"lower": -0.5, "upper": 1.5, "step": 1.0},
}


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A few images of each class of a shipped set."""
    target = tmp_path_factory.mktemp("set") / "few.zip"
    with (
        zipfile.ZipFile(ROOT / "examples/sets/fashion-low-contrast/adaptation.zip") as whole,
        zipfile.ZipFile(target, "w") as few,
    ):
        names = sorted(name for name in whole.namelist() if name.endswith(".png"))
        for _, members in groupby(names, key=lambda name: name.rsplit("/", 1)[0]):
            for name in list(members)[:EACH_CLASS]:
                few.writestr(name, whole.read(name))
    return target


@pytest.fixture(scope="module")
def job(service: LiveService, archive: Path) -> Job:
    with Client(service.url) as client:
        accepted = client.adapt(REQUEST, archive)
        *_, ended = client.watch(accepted.id)
    assert ended.status is JobStatus.SUCCEEDED, ended.error
    return ended


@pytest.fixture(scope="module")
def result(job: Job) -> Result:
    assert job.result is not None
    return job.result


def test_a_soup_of_the_front_is_downloaded_and_is_the_weighted_sum(
    job: Job, result: Result, service: LiveService, archive: Path, tmp_path: Path
) -> None:
    chosen = result.front[-1]
    folder = tmp_path / "soup"
    run = service.cli("download", job.id, "--point", str(chosen.point), "--out", folder)
    assert run.returncode == 0, run.stderr
    soup = load_file(folder / "model.safetensors")
    ingredients = {name: load_file(PANTRY / name / "model.safetensors") for name in chosen.weights}
    for key, tensor in soup.items():
        if tensor.dtype != np.float32:
            continue
        expected = sum(weight * ingredients[name][key].astype(np.float64) for name, weight in chosen.weights.items())
        if key.endswith("running_var"):
            expected = np.where(expected > 0, expected, tensor)
        np.testing.assert_allclose(tensor, expected, rtol=1e-6, atol=1e-6)
    assert service.cli("reproduce", folder / "model.safetensors").returncode == 0

    model = timm.create_model(f"local-dir:{folder}", pretrained=True).eval()
    encoded = encoded_set(folder, archive)
    found = robust_accuracy(
        NormalizedModel.from_data_config(model, model.pretrained_cfg),
        torch.from_numpy(encoded.images).float() / 255,
        torch.tensor([label for (label,) in encoded.labels]),
        attacks_on([Threat(each["norm"], each["eps"]) for each in THREATS], steps=10),
        batch_size=256,
    )
    report = found.as_json()
    images = len(encoded)
    assert report["clean"] == pytest.approx(chosen.objectives["clean"], abs=1.5 / images)
    assert report["union"][0] == pytest.approx(chosen.objectives["union"], abs=1.5 / images)


def test_the_front_trades_accuracy_for_robustness(job: Job, result: Result, service: LiveService) -> None:
    clean = [soup.objectives["clean"] for soup in result.front]
    union = [soup.objectives["union"] for soup in result.front]
    assert clean == sorted(clean, reverse=True)
    assert union == sorted(union)
    assert len(set(clean)) == len(clean)
    assert result.weights == result.front[0].weights
    with Client(service.url) as client:
        points = list(client.points(job.id))
    for point in points:
        assert any(
            soup.objectives["clean"] >= point.objectives["clean"]
            and soup.objectives["union"] >= point.objectives["union"]
            for soup in result.front
        )
        assert point.metrics["union"] <= min(point.metrics.values())
    assert result.baselines is not None
    for each in (*result.baselines.ingredients.values(), result.baselines.softmax_ensemble):
        assert each.metrics["union"] <= each.metrics["accuracy"]


def test_the_command_line_shows_threats_and_front(service: LiveService, archive: Path) -> None:
    options = [
        "--threat",
        "Linf:0.1",
        "--attack-steps",
        "3",
        "--loss",
        "ce",
        "--loss",
        "dlr",
        "--pareto",
        "--min-accuracy",
        "0.2",
    ]
    grid = ["--convex", "--lower", "0", "--upper", "1", "--step", "1"]
    run = service.cli("adapt", archive, "--pantry", "fashion", *options, *grid)
    assert run.returncode == 0, run.stderr
    assert "Linf:0.1" in run.stdout
    assert "loss=dlr" in "".join(run.stdout.split())
    assert "front" in run.stdout
