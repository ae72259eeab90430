"""A local Ray, and tiny pantries and sets; jobs run in real child processes."""

import json
import os
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file

from service.adaptation_sets.registry import SetRegistry
from service.artifacts import open_store
from service.artifacts.store import ArtifactStore, Kind
from service.connection import connect
from service.jobs.store import JobStore, NewJob
from service.pantries.registry import PantryRegistry
from service.schemas.job import Job, RequestEcho
from service.schemas.request import AdaptRequest
from service.settings import Settings
from soupsearch.embedded.cluster import LocalCluster
from tests.waiting import wait_until
from workers.soups.verify import verify_folder

ARCHITECTURE = "vit_tiny_patch16_224"
MODEL_ARGS = {"img_size": 28, "patch_size": 14, "embed_dim": 16, "depth": 1, "num_heads": 2, "in_chans": 1}
DATA_CONFIG = {"input_size": [1, 28, 28], "mean": [0.5], "std": [0.5], "crop_pct": 1.0, "interpolation": "bilinear"}
INGREDIENTS = ("alpha", "beta", "gamma")
SMALL_GRID = {"strategy": "grid", "lower": -0.5, "upper": 1.5, "step": 0.25}
IMAGES = 60
HELD_OUT = 0.3
PATIENCE = 900.0
"""Seconds; only a hang takes as long, also on a machine that does much else."""


@dataclass
class Bench:
    """Where jobs are made and run: one Redis prefix and data folder, one evaluator of one thread."""

    settings: Settings
    store: JobStore
    folder: Path
    ingredients: list[Path] = field(default_factory=list)

    @property
    def artifacts(self) -> ArtifactStore:
        return open_store(self.settings)

    def add_pantry(self, name: str = "tiny", perturbation: float = 0.1, *, reference: str | None = None) -> list[Path]:
        """The ingredients' folders in the store."""
        registry = PantryRegistry(self.artifacts, self.settings)
        names = [*INGREDIENTS, *([reference] if reference else [])]
        folders = {
            each: write_ingredient(self.folder / name / each, seed, perturbation) for seed, each in enumerate(names)
        }
        registry.add(name, folders, verify_folder, reference=reference)
        return list(registry.open(name).folders)

    def add_set(self, count: int = IMAGES) -> str:
        """The set's id."""
        path = write_images(self.folder / f"{count}.npz", count)
        return SetRegistry(self.artifacts, self.settings).add(path).id

    def remove(self, kind: Kind, digest: str) -> None:
        """Remove an artifact, whatever needs it."""
        entry = self.artifacts.find(kind, digest)
        assert entry is not None
        assert self.artifacts.delete(entry)

    def submit(self, pantry: str = "tiny", **fields: object) -> str:
        """The id of a new job; what is not given has a default, the stored set of IMAGES among them."""
        body: dict[str, object] = {
            "pantry": pantry,
            "preset": "paper",
            "search": SMALL_GRID,
            "adaptation_sets": [self.add_set()],
            "held_out_fraction": HELD_OUT,
        }
        body |= fields
        request = AdaptRequest.model_validate(body)
        stored = PantryRegistry(self.artifacts, self.settings).get(pantry)
        echo = RequestEcho(
            request=request,
            pantry_digest=stored.digest,
            adaptation_sets=request.adaptation_sets or [],
            ingredients=[ingredient.name for ingredient in stored.ingredients],
        )
        known = request.search.continue_from
        earlier = [] if known is None else [tuple(point.weights) for point in self.store.iter_points(known)]
        return self.store.submit(NewJob(echo, earlier=earlier), idempotency_key=None, body_digest="").job_id

    def start(self, job_id: str, **changes: object) -> subprocess.Popen[bytes]:
        """Claim the job and start the process of its next attempt."""
        claim = self.store.claim("tests")
        assert claim is not None
        assert claim.job_id == job_id
        environment = self.settings.model_copy(update=changes).environment()
        command = [sys.executable, "-m", "workers.jobs.process", "--job", job_id, "--attempt", str(claim.attempt)]
        with self.log.open("ab") as output:
            return subprocess.Popen(command, env=os.environ | environment, stdout=output, stderr=subprocess.STDOUT)

    def run(self, job_id: str, **changes: object) -> Job:
        """The job after one attempt."""
        return self.end(self.start(job_id, **changes), job_id)

    def end(self, process: subprocess.Popen[bytes], job_id: str) -> Job:
        """The job after its process has ended by itself."""
        try:
            assert process.wait(timeout=PATIENCE) == 0, self.log.read_text()
        finally:
            process.kill()
        return self.store.get(job_id)

    def await_points(self, job_id: str, count: int) -> None:
        """Wait until the job has as many points."""
        wait_until(lambda: self.store.get(job_id).progress.done >= count, timeout=PATIENCE)

    def journalled(self) -> dict[str, str]:
        """The packed outcomes of this bench's journals by their names."""
        redis = self.store.redis
        found = (redis.hgetall(journal).items() for journal in redis.keys(self.store.keys.journal("*")))
        return {str(name): str(text) for items in found for name, text in items}

    def forget_outcomes(self) -> None:
        """Empty this bench's journals, so that the next job evaluates every soup itself."""
        for journal in self.store.redis.keys(self.store.keys.journal("*")):
            self.store.redis.delete(journal)

    @property
    def log(self) -> Path:
        return self.folder / "jobs.log"


def make_bench(settings: Settings, cluster: LocalCluster, folder: Path) -> Bench:
    changes = {"ray_address": cluster.address, "evaluator_threads": 1, "batch_size": 64, "evaluators": 1}
    settings = settings.model_copy(update=changes)
    return Bench(settings, JobStore(connect(settings), settings), folder)


@pytest.fixture
def bench(settings: Settings, cluster: LocalCluster, tmp_path: Path) -> Bench:
    return make_bench(settings, cluster, tmp_path)


@dataclass
class Reference:
    """A job that nothing disturbed."""

    bench: Bench
    job: Job
    ingredients: list[Path]


@pytest.fixture(scope="session")
def reference(redis_url: str, cluster: LocalCluster, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("reference")
    settings = Settings(
        _env_file=None, data_dir=folder / "data", redis_url=redis_url, redis_prefix="reference", min_free_bytes=0
    )
    bench = make_bench(settings, cluster, folder)
    ingredients = bench.add_pantry()
    return Reference(bench, bench.run(bench.submit()), ingredients)


def write_ingredient(folder: Path, seed: int, perturbation: float) -> Path:
    """A timm folder: a common start and a perturbation of its own."""
    torch.manual_seed(100)
    model = timm.create_model(ARCHITECTURE, num_classes=4, **MODEL_ARGS)
    torch.manual_seed(seed)
    state = model.state_dict()
    tensors = {name: tensor + perturbation * torch.randn_like(tensor) for name, tensor in state.items()}
    folder.mkdir(parents=True)
    save_file(tensors, folder / "model.safetensors")
    config = {"architecture": ARCHITECTURE, "num_classes": 4, "model_args": MODEL_ARGS, "pretrained_cfg": DATA_CONFIG}
    (folder / "config.json").write_text(json.dumps(config))
    return folder


def write_images(path: Path, count: int) -> Path:
    """An npz of noise that is brighter in one quarter, which is the class; sorted by class."""
    rng = np.random.default_rng(1)
    labels = np.sort(np.arange(count) % 4)
    images = rng.integers(0, 120, (count, 28, 28), dtype=np.uint8)
    for image, label in zip(images, labels, strict=True):
        row, column = divmod(int(label), 2)
        image[14 * row : 14 * row + 14, 14 * column : 14 * column + 14] += 100
    np.savez(path, images=images, labels=labels)
    return path
