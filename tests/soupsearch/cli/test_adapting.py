"""What `soupsearch adapt` uploads, to an API without workers."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from service.artifacts import open_store
from service.pantries.registry import PantryRegistry
from service.settings import Settings
from soupsearch.cli.exits import INTERRUPTED, REFUSED
from tests.inputs import image_zip, write_ingredient
from tests.serving import running_api
from tests.soupsearch.cli.commands import exit_code
from tests.waiting import wait_until

COARSE = {"worn": [0, 1, 2, 3, 4, 6], "carried": ["Bag"]}


@pytest.fixture
def url(settings: Settings, tmp_path: Path) -> Iterator[str]:
    settings = settings.model_copy(update={"port": 0})
    registry = PantryRegistry(open_store(settings), settings)
    folders = {name: write_ingredient(tmp_path / name, seed) for seed, name in enumerate(("linf", "l2"))}
    registry.add("fashion", folders, verify=lambda _: None)
    with running_api(settings) as url:
        yield url


@pytest.fixture
def archives(tmp_path: Path) -> list[Path]:
    """Two sets of coarse classes, and a clean one of the pantry's own."""
    classes = {"first": ("worn", "carried"), "second": ("carried", "worn"), "clean": ("Bag", "Coat")}
    paths = [tmp_path / f"{name}.zip" for name in classes]
    for seed, (path, names) in enumerate(zip(paths, classes.values(), strict=True)):
        path.write_bytes(image_zip(names, seed=10 * seed))
    (tmp_path / "coarse.json").write_text(json.dumps(COARSE))
    return paths


def label_maps(url: str, capsys: pytest.CaptureFixture[str], *arguments: object) -> list[object]:
    """Of the job's sets, in their order."""
    assert exit_code("adapt", *arguments, "--pantry", "fashion", "--url", url, "--no-wait") == 0
    job = httpx2.get(f"{url}/jobs/{capsys.readouterr().out.strip()}").json()
    sets = job["request"]["adaptation_sets"]
    return [httpx2.get(f"{url}/adaptation-sets/{each}").json()["label_map"] for each in sets]


def submitted(url: str, capsys: pytest.CaptureFixture[str], *arguments: object) -> dict[str, object]:
    """The search of the job that these arguments start, as the service understood it."""
    assert exit_code("adapt", *arguments, "--pantry", "fashion", "--url", url, "--no-wait") == 0
    search: dict[str, object] = httpx2.get(f"{url}/jobs/{capsys.readouterr().out.strip()}").json()["request"][
        "request"
    ]["search"]
    return search


def test_a_job_is_paused_resumed_and_estimated(
    url: str, archives: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    clean = archives[-1]
    budget = ("--strategy", "random", "--evaluations", 9, "--seconds", 60, "--preset", "paper")
    assert exit_code("adapt", clean, "--pantry", "fashion", "--url", url, *budget, "--dry-run") == 0
    assert capsys.readouterr().out.startswith("at most 9 soups and ")
    assert httpx2.get(f"{url}/jobs").json()["items"] == []
    assert exit_code("adapt", clean, "--pantry", "fashion", "--url", url, *budget, "--no-wait") == 0
    job_id = capsys.readouterr().out.strip()
    limits = httpx2.get(f"{url}/jobs/{job_id}").json()["request"]["request"]["search"]["budget"]
    assert (limits["evaluations"], limits["seconds"]) == (9, 60)
    assert exit_code("pause", job_id, "--url", url) == 0
    assert f"soupsearch resume {job_id}" in capsys.readouterr().out
    assert httpx2.get(f"{url}/jobs/{job_id}").json()["status"] == "paused"
    assert exit_code("resume", job_id, "--url", url) == 0
    assert capsys.readouterr().out == f"job {job_id} is queued\n"
    assert exit_code("download", job_id, "--url", url, "--point", "worst", "--out", clean.parent / "out") == REFUSED


def test_a_curve_and_a_simplex_name_their_ingredients(
    url: str, archives: list[Path], capsys: pytest.CaptureFixture[str]
) -> None:
    clean = archives[-1]
    curve = submitted(url, capsys, clean, "--strategy", "curve", "--between", "l2,linf", "--points", 5)
    assert (curve["strategy"], curve["between"], curve["points"]) == ("curve", ["l2", "linf"], 5)
    simplex = submitted(url, capsys, clean, "--strategy", "simplex", "--among", "linf,l2", "--step", 0.25)
    assert (simplex["strategy"], simplex["among"], simplex["step"]) == ("simplex", ["linf", "l2"], 0.25)


@pytest.mark.parametrize("scored", [1, 2])
def test_a_label_map_is_of_the_sets_that_soups_are_scored_by(
    url: str, archives: list[Path], capsys: pytest.CaptureFixture[str], scored: int
) -> None:
    clean = archives[-1]
    coarse = ("--label-map", clean.with_name("coarse.json"))
    sets = archives[:scored]
    assert label_maps(url, capsys, *sets, *coarse) == [COARSE] * scored
    assert label_maps(url, capsys, *sets, *coarse, "--min-accuracy", f"{sets[-1]}=0.5") == [COARSE] * scored
    assert label_maps(url, capsys, *sets, *coarse, "--min-accuracy", f"{clean}=0.85") == [COARSE] * scored + [None]


@pytest.fixture
def jobs(url: str) -> Callable[[], list[dict[str, object]]]:
    return lambda: list(httpx2.get(f"{url}/jobs").json()["items"])


@pytest.mark.parametrize("as_json", [[], ["--json"]])
def test_ctrl_c_says_that_the_job_goes_on_and_how_to_follow_and_stop_it(
    url: str,
    archives: list[Path],
    jobs: Callable[[], list[dict[str, object]]],
    capsys: pytest.CaptureFixture[str],
    as_json: list[str],
) -> None:
    command = [sys.executable, "-m", "soupsearch", "adapt", str(archives[-1]), "--pantry", "fashion", "--url", url]
    with subprocess.Popen([*command, *as_json], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        looked = 'soupsearch_http_requests_total{method="GET",route="/jobs/{job_id}"'
        wait_until(lambda: looked in httpx2.get(f"{url}/metrics").text or process.poll() is not None, timeout=120)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
    (job,) = jobs()
    assert process.returncode == INTERRUPTED
    assert out == ""
    assert f"job {job['id']} goes on" in err
    assert f"soupsearch follow {job['id']} --url {url}" in err
    assert f"soupsearch cancel {job['id']} --url {url}" in err
    assert [each["status"] for each in jobs()] == ["queued"]
    assert exit_code("cancel", job["id"], "--url", url) == 0
    assert exit_code("follow", job["id"], "--url", url) == REFUSED
    assert f"job {job['id']} is cancelled" in capsys.readouterr().out


def test_only_images_without_a_label_are_suggested(
    url: str, archives: list[Path], jobs: Callable[[], list[dict[str, object]]], capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code("suggest", archives[-1], "--pantry", "fashion", "--url", url) == REFUSED
    assert "has a label already" in capsys.readouterr().err
    assert jobs() == []


def test_what_is_no_job_cannot_be_followed(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert exit_code("follow", "0" * 20, "--url", url) == REFUSED
    assert "there is no job" in capsys.readouterr().err
