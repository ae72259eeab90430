"""Evaluators between jobs: each driver here is a process of its own, as each job is."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from soupsearch.embedded.cluster import LocalCluster

pytestmark = pytest.mark.slow

DRIVER = """
import json, sys, threading, time
import numpy as np
import ray
from service.settings import Settings
from tests.workers.jobs.conftest import INGREDIENTS, write_ingredient
from pathlib import Path
from search.evaluation import EvaluationRequest
from search.loop import Interrupted
from workers.evaluation.baselines import evaluate_baselines
from workers.ray_runtime.connection import connect
from workers.ray_runtime.evaluators import EvaluatorPool
from workers.ray_runtime.task import SetPart, Task
from workers.soups.stack import IngredientStack

address, folder, supplies = sys.argv[1], Path(sys.argv[2]), sys.argv[3] == "supplies"
rng = np.random.default_rng(0)
images = rng.integers(0, 256, (40, 1, 28, 28), dtype=np.uint8)
part = SetPart("images", tuple(range(40)), tuple((row % 4,) for row in range(40)), ((0,), (1,), (2,), (3,)), 4)
task = Task("ingredients", (part,), "float32", 16)

def arrays_of(key):
    assert supplies, f"{key} was asked for again"
    if key == "images":
        return {"images": images}
    return IngredientStack.from_folders([write_ingredient(folder / name, 3, 0.1) for name in INGREDIENTS]).arrays()

settings = Settings(_env_file=None, ray_address=address, evaluators=1, evaluator_threads=1)
connect(settings)
churn = [ray.put(np.zeros(60 * 2**20, dtype=np.uint8)) for _ in range(0 if supplies else 4)]
pool = EvaluatorPool(settings, threading.Event())
executor = pool.executor(task, arrays_of, "token")
outcomes = executor.outcomes([EvaluationRequest(each) for each in ((0.5, 0.25, 0.25), (1.0, -0.5, 0.5))])
baselines = evaluate_baselines(executor, 3, task.sets, attacked=False)
pool.stop(["stopped"])
is_stopped, deadline = False, time.monotonic() + 120
while not is_stopped:
    assert time.monotonic() < deadline, "stopped work went on"
    try:
        pool.executor(task, arrays_of, "stopped").outcomes([EvaluationRequest((0.5, 0.25, 0.25))])
    except Interrupted:
        is_stopped = True
pids = [info.pid for info in pool.infos.values()]
values = [[each.sets[0].accuracy, each.sets[0].nll] for each in (*outcomes, *baselines.ingredients)]
print(json.dumps([pids, values]))
"""


def drive(cluster: LocalCluster, folder: Path, supplies: str) -> tuple[list[int], list[list[float]]]:
    command = [sys.executable, "-c", DRIVER, cluster.address, str(folder), supplies]
    run = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=600, check=False)
    assert run.returncode == 0, run.stderr
    pids, values = json.loads(run.stdout)
    return pids, values


def test_the_next_job_finds_ingredients_and_images_in_memory_also_after_its_work_was_stopped(
    cluster: LocalCluster, tmp_path: Path
) -> None:
    first = drive(cluster, tmp_path, "supplies")
    second = drive(cluster, tmp_path, "supplies not")
    assert second == first
