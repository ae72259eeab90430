"""The training of one ingredient on several processes of a Ray cluster, by Ray Train."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import fields
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import ray
from ray.train import FailureConfig, RunConfig, ScalingConfig, TrainingFailedError
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from service.settings import Settings
from workers.ray_runtime.connection import connect
from workers.ray_runtime.process_group import join_process_group
from workers.training.ingredient_build import IngredientBuild
from workers.training.progress import LOG, OnProgress, Progress
from workers.training.shard import Shard

FAILURES = 3
"""How often dead workers are replaced in one training; it goes on from its last checkpoint."""
_LOOK_SECONDS = 0.5


class RayTraining:
    """Trains an ingredient with ``workers`` processes of the cluster at ``address``, an equal share of each batch each.

    A worker takes ``threads`` CPUs, and a GPU if ``device`` is ``cuda``, or ``auto`` and there are enough. Every node
    reads the recipe's data folder, the base and the ingredient's folder by the same paths.
    """

    def __init__(self, address: str, workers: int, *, device: str = "auto", threads: int = 1) -> None:
        self._address = address
        self._workers = workers
        self._device = device
        self._threads = threads

    def __call__(self, build: IngredientBuild, on_progress: OnProgress | None) -> None:
        """Train what ``build`` says and write its folder.

        Raises ValueError for a batch that does not divide by the workers, for what a worker found wrong or when
        workers died again and again; Unavailable when no cluster answers.
        """
        Shard(0, self._workers).rows(build.recipe.training.batch_size)
        if not ray.is_initialized():
            connect(Settings(ray_address=self._address))
        storage = build.folder.resolve().with_name(f".{build.folder.name}.ray")
        with _followed(build, on_progress):
            try:
                self._trainer(build, storage).fit()
            except TrainingFailedError as error:
                raise ValueError(_reason(error)) from error
            finally:
                shutil.rmtree(storage, ignore_errors=True)
        if not build.folder.is_dir():
            raise ValueError(f"{build.folder} was written on another machine: name a folder on storage that all share")

    def _trainer(self, build: IngredientBuild, storage: Path) -> DataParallelTrainer:
        on_gpu = self._device == "cuda" or (self._device == "auto" and self._has_gpus())
        return DataParallelTrainer(
            _train,
            train_loop_config={
                **_plan(build),
                "device": "cuda" if on_gpu else "cpu",
                "threads": self._threads,
            },
            scaling_config=ScalingConfig(
                num_workers=self._workers, use_gpu=on_gpu, resources_per_worker={"CPU": self._threads}
            ),
            run_config=RunConfig(
                name=f"run-{uuid4().hex[:8]}",
                storage_path=str(storage),
                failure_config=FailureConfig(max_failures=FAILURES),
            ),
        )

    def _has_gpus(self) -> bool:
        return int(ray.cluster_resources().get("GPU", 0)) >= self._workers


def _plan(build: IngredientBuild) -> dict[str, Any]:
    """All of ``build`` but the images, which every worker opens for itself, with paths that hold everywhere."""
    plan = {field.name: getattr(build, field.name) for field in fields(build) if field.name != "images"}
    return {**plan, "folder": build.folder.resolve(), "directory": Path.cwd()}


def _train(plan: Mapping[str, Any]) -> None:
    """What each worker runs."""
    import torch

    from workers.training.images import open_images

    given = dict(plan)
    torch.set_num_threads(given.pop("threads"))
    os.chdir(given.pop("directory"))
    join_process_group("nccl" if given["device"] == "cuda" else "gloo")
    build = IngredientBuild(images=open_images(given["recipe"].data, given["recipe"].model), **given)
    if not build.work.is_dir():
        raise ValueError(f"{build.work} is not on this worker's machine: name a folder on storage that all share")
    build.train(shard=Shard.of_this_process())


def _reason(error: TrainingFailedError) -> str:
    failures: dict[int, Exception] = getattr(error, "worker_failures", {})
    told = [str(failure) for failure in failures.values() if isinstance(failure, ValueError | OSError)]
    return told[0] if told else f"the training's workers died; the same command goes on where they were ({error})"


@contextmanager
def _followed(build: IngredientBuild, on_progress: OnProgress | None) -> Iterator[None]:
    """Tell what the first worker writes into its log, every tenth step, while it does."""
    if on_progress is None:
        yield
        return
    done = Event()
    thread = Thread(target=_follow, args=(build, on_progress, done), daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


def _follow(build: IngredientBuild, on_progress: OnProgress, done: Event) -> None:
    told = None
    is_last = False
    while not is_last:
        is_last = done.wait(_LOOK_SECONDS)
        progress = _last_progress(build.work / LOG) or _last_progress(build.folder / LOG)
        if progress is not None and progress != told:
            on_progress(progress)
            told = progress


def _last_progress(log: Path) -> Progress | None:
    try:
        lines = log.read_text("utf-8").splitlines(keepends=True)
    except FileNotFoundError:
        return None
    written = [line for line in lines if line.endswith("\n")]
    return Progress(**json.loads(written[-1])) if written else None
