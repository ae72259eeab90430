"""Training one ingredient on several processes of a Ray cluster, through Ray Train."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, wait
from contextlib import contextmanager
from dataclasses import fields, replace
from pathlib import Path
from threading import Event, Thread
from typing import Any
from uuid import uuid4

import ray
from ray.exceptions import RayError
from ray.train import FailureConfig, Result, RunConfig, ScalingConfig, TrainingFailedError

# TorchTrainer's base: TorchTrainer itself makes a process group that listens on every interface.
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

from lab.training.ingredient_build import IngredientBuild
from lab.training.process_group import join_process_group, told_by_all
from lab.training.progress import LOG, OnProgress, TrainingProgress
from lab.training.shard import Shard
from service.settings import Settings
from workers.ray_runtime.connection import LOOK_SECONDS, ClusterWatch, connect

FAILURES = 3
"""How often a training is restarted from its last checkpoint after a worker has died."""
_LOOK_SECONDS = 0.5


class RayTraining:
    """Trains an ingredient with ``workers`` processes of the cluster at ``address``, on equal shares of each batch.

    A worker takes ``threads`` CPUs (for a fine-tune ``fine_tune_threads``, if given), and a GPU if ``device`` is
    ``cuda``, or ``auto`` and there are enough. Every node reads the recipe's data folder, the base and the ingredient's
    folder under the same paths. ``on_wait`` is called when the cluster has become too small, for instance because a
    machine was lost, and training waits for another. ``close`` disconnects.

    After ``connect`` in the main thread, up to ``at_once`` threads may call it at the same time, each for one
    fine-tune.
    """

    def __init__(
        self,
        address: str,
        workers: int,
        *,
        device: str = "auto",
        threads: int = 1,
        fine_tune_threads: int | None = None,
        at_once: int = 1,
        on_wait: Callable[[str], None] | None = None,
    ) -> None:
        self._address = address
        self._workers = workers
        self._device = device
        self._threads = threads
        self._fine_tune_threads = fine_tune_threads or threads
        self._at_once = at_once
        self._on_wait = on_wait

    def __call__(self, build: IngredientBuild, on_progress: OnProgress | None) -> None:
        """Train ``build`` and write its folder. Waits while others use the cluster.

        Raises ValueError if a batch does not divide by the workers, the cluster is too small, a worker found an error,
        or workers died again and again. Raises Unavailable if no cluster answers or the cluster was lost.
        """
        Shard(0, self._workers).rows(build.recipe.training.batch_size)
        self.connect()
        scaling = self._scaling(is_fine_tune=build.origin is not None)
        try:
            with _followed(build, on_progress):
                self._await(_started(_trainer(build, scaling)), scaling)
        finally:
            shutil.rmtree(build.work / "ray", ignore_errors=True)
        if not build.is_finished():
            raise ValueError(f"{build.folder} was written on another machine: name a folder on storage that all share")

    def connect(self) -> None:
        """Connect to the cluster unless already connected. Raises Unavailable if none answers."""
        if not ray.is_initialized():
            connect(Settings(ray_address=self._address))

    def close(self) -> None:
        """Disconnect from the cluster, which ends everything that still runs."""
        ray.shutdown()

    def _scaling(self, *, is_fine_tune: bool) -> ScalingConfig:
        """The resources to request from the cluster, after ``connect``, for one training.

        Raises ValueError if the cluster could never provide them, or never as many as ``at_once`` fine-tunes take: Ray
        would wait for ever.
        """
        has = ray.cluster_resources()
        on_gpu = self._device == "cuda" or (self._device == "auto" and has.get("GPU", 0) >= self._workers)
        alone, beside = (
            ScalingConfig(num_workers=self._workers, use_gpu=on_gpu, resources_per_worker={"CPU": float(threads)})
            for threads in (self._threads, self._fine_tune_threads)
        )
        if (lack := _lack(beside, self._at_once) or _lack(alone)) is not None:
            lower = "--workers or --threads" if self._at_once == 1 else "--jobs, --workers or --threads"
            raise ValueError(f"{lack}: lower {lower}, or choose another --device")
        return beside if is_fine_tune else alone

    def _await(self, outcome: Future[Result], scaling: ScalingConfig) -> None:
        """Wait for the end. Raises ValueError for errors that workers found, Unavailable if the cluster was lost."""
        watch, told = ClusterWatch(self._address), None
        while not wait([outcome], LOOK_SECONDS).done:
            if not watch.look():
                continue
            lack = _lack(scaling)
            if lack is not None and lack != told and self._on_wait is not None:
                self._on_wait(f"{lack}: training waits, and continues when enough machines have joined")
            told = lack
        try:
            mistake = outcome.result().return_value
        except TrainingFailedError as error:
            raise ValueError(_reason(error)) from error
        except RayError as error:
            if not watch.answers():
                raise watch.lost() from error
            raise ValueError(f"the training did not finish; run the command again to continue: {error}") from error
        if mistake is not None:
            raise ValueError(mistake)


def _lack(scaling: ScalingConfig, at_once: int = 1) -> str | None:
    """The resources that this many trainings need and that the cluster does not have at the moment."""
    workers, has = at_once * int(scaling.num_workers), ray.cluster_resources()
    for kind, each in {"CPU": scaling.num_cpus_per_worker, "GPU": scaling.num_gpus_per_worker}.items():
        if has.get(kind, 0) < workers * each:
            return f"{workers} workers take {workers * each:.0f} {kind}s, but the cluster has {has.get(kind, 0):.0f}"
    return None


def _trainer(build: IngredientBuild, scaling: ScalingConfig) -> DataParallelTrainer:
    return DataParallelTrainer(
        _train,
        train_loop_config=_plan(build, scaling),
        scaling_config=scaling,
        run_config=RunConfig(
            name=f"run-{uuid4().hex[:8]}",
            storage_path=str(build.work.absolute() / "ray"),
            failure_config=FailureConfig(max_failures=FAILURES),
        ),
    )


def _started(trainer: DataParallelTrainer) -> Future[Result]:
    """The outcome of a training that runs in a thread: in the main thread Ray takes SIGINT and may wait for ever."""
    outcome: Future[Result] = Future()

    def fit() -> None:
        try:
            outcome.set_result(trainer.fit())
        except BaseException as error:  # noqa: BLE001 - raised again where the outcome is asked for
            outcome.set_exception(error)

    Thread(target=fit, daemon=True).start()
    return outcome


def _reason(error: TrainingFailedError) -> str:
    failures: Mapping[int, Exception] = getattr(error, "worker_failures", {})
    told = [str(failure) for failure in failures.values() if isinstance(failure, ValueError | OSError)]
    return told[0] if told else f"the training did not finish; run the command again to continue: {error}"


def _plan(build: IngredientBuild, scaling: ScalingConfig) -> dict[str, Any]:
    """What workers need to make their own build: all of it except the images, with paths that hold in any directory."""
    origin = build.origin and replace(build.origin, folder=build.origin.folder.absolute())
    plan = {field.name: getattr(build, field.name) for field in fields(build) if field.name != "images"}
    own = {
        "folder": build.folder.absolute(),
        "origin": origin,
        "device": "cuda" if scaling.use_gpu else "cpu",
    }
    seen = {"data_folder": build.recipe.data.folder.absolute(), "data_digest": build.images.digest()}
    return {"build": {**plan, **own}, **seen, "threads": int(scaling.resources_per_worker["CPU"])}


def _train(plan: Mapping[str, Any]) -> str | None:
    """Run in each worker: train its shards, or return an error that another try would not fix."""
    import torch
    from torch import distributed

    torch.set_num_threads(plan["threads"])
    join_process_group("nccl" if plan["build"]["device"] == "cuda" else "gloo")
    build: IngredientBuild | None = None
    try:
        build = _opened(plan)
        mistake = None
    except (ValueError, OSError) as error:
        mistake = f"on {os.uname().nodename}: {error}"
    mistakes = [told for told in told_by_all(mistake) if told is not None]
    if mistakes or build is None:
        return mistakes[0]
    try:
        if not any(told_by_all(build.is_written())):
            build.train(shard=Shard.of_this_process())
    except ValueError as error:
        return str(error)
    finally:
        distributed.destroy_process_group()  # so that no other worker waits for this one
    return None


def _opened(plan: Mapping[str, Any]) -> IngredientBuild:
    from lab.training.images import open_images

    recipe = plan["build"]["recipe"]
    images = open_images(recipe.data.model_copy(update={"folder": plan["data_folder"]}), recipe.model)
    build = IngredientBuild(images=images, **plan["build"])
    if images.digest() != plan["data_digest"]:
        raise ValueError(f"the images in {plan['data_folder']} are not those of the machine where the command was run")
    if not (build.work.is_dir() or build.folder.is_dir()):
        raise ValueError(f"there is no {build.work}: name an output folder on storage that all machines share")
    return build


@contextmanager
def _followed(build: IngredientBuild, on_progress: OnProgress | None) -> Iterator[None]:
    """While the training runs, report what the first worker writes into its log at every tenth step."""
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
    told = _last_progress(build.work / LOG)
    is_last = False
    while not is_last:
        is_last = done.wait(_LOOK_SECONDS)
        progress = _last_progress(build.work / LOG) or _last_progress(build.folder / LOG)
        if progress is not None and progress != told:
            on_progress(progress)
            told = progress


def _last_progress(log: Path) -> TrainingProgress | None:
    try:
        lines = log.read_text("utf-8").splitlines(keepends=True)
    except OSError:
        return None
    written = [line for line in lines if line.endswith("\n")]
    return TrainingProgress(**json.loads(written[-1])) if written else None
