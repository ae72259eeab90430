"""A strategy that someone else installed, from the request to the download."""

import os
from pathlib import Path
from typing import Any

import httpx2
import psutil
import pytest
import redis

from tests.live import ROOT, LiveService, live_service
from tests.processes import running
from tests.waiting import wait_until
from workers.evaluation.folder import load_folder

pytestmark = pytest.mark.slow

STRATEGY = """
from typing import Literal
from search.strategy import Strategy, StrategyKind, StrategyRequest, generation
from search.objectives import Objectives

class Climb(StrategyRequest):
    strategy: Literal["climb"] = "climb"
    rounds: int = 3

class Climber(Strategy):
    def __init__(self, request, space, objectives, seed):
        self.rounds, self.objectives, self.size = request.rounds, objectives, space.size
        self.center, self.best, self.seen, self.soups = space.uniform, -1.0, set(), []

    def propose(self):
        steps = [0.25 * k for k in range(-3, 4)]
        moves = [(i, j, s) for i in range(self.size) for j in range(self.size) if i != j for s in steps]
        near = [tuple(round(w + s * ((k == i) - (k == j)), 9) for k, w in enumerate(self.center)) for i, j, s in moves]
        self.soups = [soup for soup in dict.fromkeys(near) if soup not in self.seen]
        self.seen.update(self.soups)
        self.rounds -= 1
        return generation(self.soups) if self.rounds >= 0 and self.soups else None

    def learn(self, outcomes):
        for soup, outcome in zip(self.soups, outcomes):
            score = self.objectives.evaluation(soup, outcome).score
            if score is not None and score > self.best:
                self.center, self.best = soup, score

KIND = StrategyKind("climb", Climb, lambda request, space: 7 * request.rounds * space.size**2, Climber)
"""


def install(folder: Path) -> None:
    """As pip would leave it: a module, and metadata with an entry point."""
    metadata = folder / "climb-1.0.dist-info"
    metadata.mkdir(parents=True)
    (folder / "climb.py").write_text(STRATEGY)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: climb\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[soupsearch.strategies]\nclimb = climb:KIND\n")


def test_an_installed_strategy_runs_and_resumes_after_a_kill(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    install(tmp_path / "site")
    path = os.pathsep.join(filter(None, [str(tmp_path / "site"), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    with live_service(tmp_path / "data") as service:
        added = service.cli("pantry", "add", "fashion", ROOT / "examples/pantries/fashion-resnet")
        assert added.returncode == 0, added.stderr
        undisturbed = finished(service, submit(service, seed=0))
        job_id = submit(service, seed=0, held_out_fraction=0.2)
        wait_until(lambda: job(service, job_id)["progress"]["done"] >= 60, timeout=300)
        kill_children(service)
        disturbed = finished(service, job_id)
        assert disturbed["attempt"] == 2
        assert undisturbed["attempt"] == 1
        forget_outcomes(service)
        again = finished(service, submit(service, seed=0, held_out_fraction=0.2))
        assert again["result"]["cost"]["reused_points"] == 0
        assert points(service, again["id"]) == points(service, job_id)
        for name in ("weights", "score", "nll", "interval", "top", "held_out", "partial"):
            assert disturbed["result"][name] == again["result"][name], name
        downloaded = service.cli("download", job_id, "--out", tmp_path / "model")
        assert downloaded.returncode == 0, downloaded.stderr
    load_folder(tmp_path / "model")


def submit(service: LiveService, **fields: object) -> str:
    with (ROOT / "examples/sets/fashion-rotation/adaptation.zip").open("rb") as file:
        stored = httpx2.post(f"{service.url}/adaptation-sets", files={"adaptation_set": file}, timeout=60)
    assert stored.status_code < 300, stored.text
    body = {"pantry": "fashion", "adaptation_sets": [stored.json()["id"]], "search": {"strategy": "climb"}, **fields}
    answer = httpx2.post(f"{service.url}/adapt", json=body, timeout=60)
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])


def job(service: LiveService, job_id: str) -> dict[str, Any]:
    return dict(httpx2.get(f"{service.url}/jobs/{job_id}", timeout=30).json())


def points(service: LiveService, job_id: str) -> list[list[object]]:
    page = httpx2.get(f"{service.url}/jobs/{job_id}/points", params={"limit": 1000}, timeout=60).json()
    assert page["next"] is None
    return [[point["index"], point["weights"], point["score"], point["nll"]] for point in page["items"]]


def forget_outcomes(service: LiveService) -> None:
    """Empty the journal, so that the next job evaluates every soup itself."""
    (worker,) = running((each.pid for each in service.descendants()), "soupsearch worker")
    client = redis.Redis.from_url(worker.environ()["SOUPSEARCH_REDIS_URL"])
    keys = list(client.scan_iter("*:journal:*"))
    assert keys
    client.delete(*keys)


def finished(service: LiveService, job_id: str) -> dict[str, Any]:
    found = wait_until(lambda: each if (each := job(service, job_id))["is_terminal"] else None, timeout=400)
    assert found["status"] == "succeeded", found
    assert found["progress"]["done"] == found["progress"]["total"]
    return found


def kill_children(service: LiveService) -> None:
    children = running((each.pid for each in service.descendants()), "workers.jobs.process")
    assert children
    for child in children:
        child.kill()
    psutil.wait_procs(children, timeout=30)
