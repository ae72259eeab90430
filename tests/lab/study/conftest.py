"""A study small enough for tests, on the shipped ResNet and real images."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from lab.study.config import StudyConfig
from lab.study.evaluators import ExecutorOf
from lab.study.jobs import StudyJob
from lab.study.run import StudyRun
from lab.study.store import Arrays, Store
from tests.live import ROOT
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.executor import LocalExecutor
from workers.evaluation.sets import EncodedSet
from workers.ray_runtime.evaluators import Supplier
from workers.ray_runtime.task import SetPart, Task
from workers.soups.stack import IngredientStack

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


class ThisProcess:
    """Evaluators of a study that are one in this process; counts how often they were started."""

    def __init__(self) -> None:
        self.starts = 0

    @contextmanager
    def __call__(self) -> Iterator[ExecutorOf]:
        self.starts += 1
        yield executor_of


def executor_of(task: Task, arrays_of: Supplier) -> LocalExecutor:
    stack = IngredientStack.from_arrays(arrays_of(task.stack))
    sets = [
        EncodedSet(arrays_of(part.images)["images"][list(part.rows)], part.accepted, part.space) for part in task.sets
    ]
    evaluator = Evaluator(
        stack, sets, precision=task.precision, batch_size=task.batch_size, attacks=task.attacks, seed=task.seed
    )
    return LocalExecutor(evaluator)


def computed(job: StudyJob, store: Store) -> Arrays:
    """The job's result, as a run of the study keeps it."""

    def arrays_of(key: str) -> dict[str, Any]:
        return job.stack.arrays() if key == job.stack.key else store.read(key, "images")

    return job.arrays(executor_of(job.task(256), arrays_of).outcomes(job.requests))


def stored_set(part: SetPart, store: Store) -> EncodedSet:
    return EncodedSet(store.read(part.images, "images")["images"], part.accepted, part.space)


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
    here = ThisProcess()
    return StudyRun(config, out, here, no_archives, lambda stage, done, total: None), here


def files(run: StudyRun) -> set[str]:
    """The names of everything that is kept."""
    root = run.store.root
    return {path.relative_to(root).with_suffix("").as_posix() for path in root.rglob("[!.]*.npz")}
