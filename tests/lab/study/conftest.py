"""A study small enough for tests, on the shipped ResNet and real images."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.study.config import StudyConfig
from lab.study.executors import StudyExecutor
from lab.study.jobs import StudyJob
from lab.study.run import StudyRun
from lab.study.store import Arrays
from tests.live import ROOT
from workers.evaluation.sets import EncodedSet

FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
RESNET = ROOT / "examples/pantries/fashion-resnet"
NAMES = ("linf", "l2", "l1", "nominal")

TINY: dict[str, Any] = {
    "name": "tiny",
    "ingredients": {"linf": "Linf:0.1", "l2": "L2:1.5", "l1": "L1:12", "nominal": "clean"},
    "pantries": [{"name": "resnet", "architecture": "ResNet", "folder": str(RESNET)}],
    "lattice": {"lower": -0.5, "upper": 1.0, "step": 0.5},
    "data": {
        "idx": str(FASHION_MNIST),
        "corruptions": ["contrast", "gaussian_noise"],
        "severities": [1, 3, 5],
        "selection": 30,
        "held_out": 20,
    },
    "attacks": {"images": 8, "steps": 3, "pairs": [["linf", "l1"]], "triples": [["linf", "l2", "l1"]]},
    "few_shot": {"counts": [5, 20], "draws": 4},
}

Changes = dict[str, Any]


@dataclass
class ThisProcess(StudyExecutor):
    """Computes jobs one by one where it is called, and remembers their names."""

    names: list[str] = field(default_factory=list)

    def run(self, jobs: Sequence[StudyJob]) -> Iterator[tuple[StudyJob, Arrays]]:
        for job in jobs:
            self.names.append(job.name)
            yield job, job.compute([source.load() for source in job.inputs], "cpu")


def write_study(path: Path, **changes: Any) -> Path:
    path.write_text(yaml.safe_dump({**TINY, **changes}, sort_keys=False), "utf-8")
    return path


def no_archives(folder: Path, archive: Path) -> EncodedSet:
    raise AssertionError(f"{archive} is read although the study names none")


MakeStudy = Callable[..., StudyConfig]


@pytest.fixture
def make_study(tmp_path: Path) -> MakeStudy:
    """A study with some of its sections replaced."""
    return lambda **changes: StudyConfig.load(write_study(tmp_path / "study.yaml", **changes))


def run_of(config: StudyConfig, out: Path) -> tuple[StudyRun, ThisProcess]:
    executor = ThisProcess()
    return StudyRun(config, out, executor, no_archives, lambda stage, done, total: None), executor
