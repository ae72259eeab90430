"""Training by several processes together, on one machine or many, through Ray Train."""

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train.torch
import torch
from ray.train import FailureConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchTrainer

from service.settings import Settings
from workers.ray_runtime.cluster import LocalCluster
from workers.ray_runtime.connection import connect
from workers.training.ingredient_build import build_ingredient, work_folder
from workers.training.progress import LOG, OnProgress, Progress
from workers.training.recipe import IngredientRecipe

_POLL_SECONDS = 0.5


class TrainingFailed(Exception):
    """The processes ended more often than they may; the message holds the last reason."""


@dataclass(frozen=True)
class Together:
    """How many processes train together and where.

    ``address`` is a Ray cluster's, all of whose machines see the ingredient's folder under one path; None starts
    Ray on this machine for the time of the training. Each process takes one GPU with ``gpu``, otherwise ``threads``
    CPU threads. After a process or its machine was lost, all start again from the last checkpoint, ``failures`` times.
    """

    workers: int
    address: str | None = None
    gpu: bool = False
    threads: int = 1
    failures: int = 3


def train_together(
    recipe: IngredientRecipe,
    folder: Path,
    together: Together,
    *,
    base: Path | None = None,
    tensorboard: bool = False,
    checkpoint_seconds: float = 30.0,
    on_progress: OnProgress | None = None,
) -> Path:
    """``build_ingredient`` by several processes, each on its share of every batch.

    Raises TrainingFailed, and Unavailable where no cluster answers.
    """
    config = {
        "recipe": recipe.model_dump(mode="json"),
        "folder": str(folder.resolve()),
        "base": None if base is None else str(base.resolve()),
        "tensorboard": tensorboard,
        "checkpoint_seconds": checkpoint_seconds,
        "threads": together.threads,
    }
    storage = folder.resolve().parent / f".{folder.name}.ray"
    trainer = TorchTrainer(
        _train,
        train_loop_config=config,
        scaling_config=ScalingConfig(num_workers=together.workers, use_gpu=together.gpu),
        run_config=RunConfig(
            name="train", storage_path=str(storage), failure_config=FailureConfig(max_failures=together.failures)
        ),
    )
    folder.parent.mkdir(parents=True, exist_ok=True)
    with _connected(together), _watched(work_folder(folder) / LOG, on_progress):
        try:
            trainer.fit()
        except ray.train.TrainingFailedError as error:
            raise TrainingFailed(_reason(error)) from error
        finally:
            shutil.rmtree(storage, ignore_errors=True)
    return folder


def _train(config: dict[str, Any]) -> None:
    """What each process runs; Ray Train has put it into PyTorch's process group."""
    torch.set_num_threads(config["threads"])
    build_ingredient(
        IngredientRecipe.model_validate(config["recipe"]),
        Path(config["folder"]),
        base=None if config["base"] is None else Path(config["base"]),
        device=str(ray.train.torch.get_device()),
        tensorboard=config["tensorboard"],
        checkpoint_seconds=config["checkpoint_seconds"],
    )


@contextmanager
def _connected(together: Together) -> Iterator[None]:
    if together.address is not None:
        connect(Settings(ray_address=together.address))
        try:
            yield
        finally:
            ray.shutdown()
        return
    with LocalCluster(cpus=together.workers + 1) as cluster:
        connect(Settings(ray_address=cluster.address))
        try:
            yield
        finally:
            ray.shutdown()


@contextmanager
def _watched(log: Path, on_progress: OnProgress | None) -> Iterator[None]:
    """Tell the last line of the log, which all machines see, now and then."""
    ended = threading.Event()

    def watch() -> None:
        while not ended.wait(_POLL_SECONDS):
            told = _last(log)
            if told is not None and on_progress is not None:
                on_progress(told)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _last(log: Path) -> Progress | None:
    try:
        lines = log.read_text("utf-8").splitlines(keepends=True)
    except OSError:
        return None
    whole = [line for line in lines if line.endswith("\n")]
    return Progress(**json.loads(whole[-1])) if whole else None


def _reason(error: BaseException) -> str:
    causes = getattr(error, "worker_failures", None) or {}
    texts = [str(each) for each in causes.values()] or [str(error)]
    return texts[0].strip().splitlines()[-1]
