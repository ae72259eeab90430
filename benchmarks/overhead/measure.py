"""What the service costs on top of the evaluations: a grid job against bare loops over the same soups and images.

python benchmarks/overhead/measure.py [--pantry DIR] [--images 1000] [--threads 2] [--json FILE]

One run measures, on the same machine with the same number of threads:

service   wall time of a job from POST to the downloaded model, with evaluators that are warm from a small job before
pruned    the same with a grid that drops soups which can no longer be among the best
auto      the same with the default request: a few dozen soups, each refined where that pays
cold      the grid job for the very first job of a fresh service, on the small set (what starting evaluators costs)
loop      a bare Python loop in one process: merge in memory, forward, count; before the job and again after it, because
          a machine's speed drifts by more than what is measured here: the ratios are to the mean of the two
scripts   as merging scripts do it: for every candidate, load each checkpoint from disk, merge, build the model, forward
"""

import argparse
import io
import json
import os
import subprocess
import sys
import tempfile
import time
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from search.lattice import Lattice

SCRIPT_SOUPS = 48
BETWEEN_JOBS = 20.0
"""Seconds from one job to the next: the service then has the next job's process ready, as between two users' jobs."""


PAPER = {"preset": "paper"}
REQUESTS: dict[str, dict[str, Any]] = {
    "service": PAPER,
    "pruned": PAPER | {"search": {"strategy": "grid", "prune": True}},
    "auto": {},
}
"""What each job asks for. None takes over outcomes of another: each sees images in its own order, or keeps logits."""


def write_set(target: Path, count: int, seed: int, data: Path) -> None:
    """A zip of ``count`` low-contrast Fashion-MNIST test images in class folders."""
    from PIL import Image

    from lab.data.fashion_mnist import CLASS_NAMES
    from lab.data.idx import load_idx_folder

    source = load_idx_folder(data, "test")
    rows = np.random.default_rng(seed).permutation(len(source.labels))[:count]
    with zipfile.ZipFile(target, "w") as archive:
        for row in rows:
            grey = np.asarray(source.images[row]).squeeze().astype(np.float32)
            dim = (grey - grey.mean()) * 0.25 + grey.mean()
            image = io.BytesIO()
            Image.fromarray(dim.clip(0, 255).astype(np.uint8)).save(image, "PNG")
            archive.writestr(f"{CLASS_NAMES[int(source.labels[row])]}/{row}.png", image.getvalue())


def run_service(pantry: Path, small: Path, large: Path, threads: int) -> dict[str, Any]:
    """Run a small job and then the measured one through a fresh embedded service."""
    from service.settings import Settings
    from soupsearch.cli.ingredients import gathered, packed
    from soupsearch.client import Client
    from soupsearch.embedded.service import EmbeddedService

    with tempfile.TemporaryDirectory(prefix="soupsearch-bench-") as scratch:
        settings = Settings(data_dir=Path(scratch) / "data", port=0, evaluators=1, evaluator_threads=threads)
        with EmbeddedService(settings) as service, Client(service.url, timeout=600) as client:
            with gathered([pantry], None) as ingredients, packed(ingredients) as archive:
                client.add_pantry({"name": "pantry", "ingredients": list(ingredients)}, archive)
            cold = timed_job(client, small, Path(scratch))
            time.sleep(BETWEEN_JOBS)
            results = {"cold": cold}
            for name, fields in REQUESTS.items():
                results[name] = timed_job(client, large, Path(scratch), fields)
                time.sleep(BETWEEN_JOBS)
            return results


def timed_job(client: Any, archive: Path, scratch: Path, fields: dict[str, Any] | None = None) -> dict[str, Any]:
    """Seconds from POST to the model on disk, and where they went."""
    start = time.perf_counter()
    job = client.adapt({"pantry": "pantry", **(PAPER if fields is None else fields)}, archive)
    *_, job = client.watch(job.id)
    client.download_model(job.id, scratch / "model.safetensors")
    seconds = time.perf_counter() - start
    evaluating = sum(point.seconds for point in client.points(job.id))
    return {
        "seconds": seconds,
        "queued": (job.started_at - job.created_at).total_seconds(),
        "search_and_preflight": job.result.cost.seconds,
        "evaluating": evaluating,
        "points": job.result.cost.evaluations,
        "score": job.result.score,
        "weights": job.result.weights,
    }


def run_loop(pantry: Path, archive: Path, style: str, threads: int) -> dict[str, Any]:
    """Run one of the bare loops in a fresh process."""
    command = [sys.executable, __file__, "--child", style, "--pantry", str(pantry), "--set", str(archive)]
    environment = os.environ | {"OMP_NUM_THREADS": str(threads)}
    output = subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout
    return dict(json.loads(output.splitlines()[-1]))


def load_images(archive: Path, names: list[str]) -> tuple[Any, Any]:
    """Images in [0, 1], float32 of shape (N, 1, 28, 28), and labels."""
    import torch
    from PIL import Image

    images, labels = [], []
    with zipfile.ZipFile(archive) as content:
        for member in content.namelist():
            images.append(np.asarray(Image.open(io.BytesIO(content.read(member)))))
            labels.append(names.index(member.split("/")[0]))
    return torch.from_numpy(np.stack(images)).unsqueeze(1).float().div(255), torch.tensor(labels)


def bare_loop(pantry: Path, archive: Path, style: str) -> dict[str, Any]:
    """Score every soup of the paper's grid, in memory or as scripts do."""
    import timm
    import torch
    from safetensors.torch import load_file

    folders = sorted(path for path in pantry.iterdir() if (path / "config.json").exists())
    config = json.loads((folders[0] / "config.json").read_text())
    start = time.perf_counter()
    images, labels = load_images(archive, config["label_names"])
    model = timm.create_model(f"local-dir:{folders[0]}", pretrained=True).eval()
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(-1, 1, 1) for key in ("mean", "std"))
    batches = list(zip(((images - mean) / std).split(256), labels.split(256), strict=True))
    weights = Lattice(len(folders)).weights()
    states = [load_file(folder / "model.safetensors") for folder in folders]
    soups = weights if style == "loop" else weights[:: max(1, len(weights) // SCRIPT_SOUPS)]
    right = []
    with torch.inference_mode():
        for row in soups.tolist():
            if style == "scripts":
                states = [load_file(folder / "model.safetensors") for folder in folders]
                model = timm.create_model(f"local-dir:{folders[0]}", pretrained=False).eval()
            merged = {key: sum(w * state[key] for w, state in zip(row, states, strict=True)) for key in states[0]}
            model.load_state_dict(merged)
            right.append(sum(int((model(x).argmax(1) == y).sum()) for x, y in batches))
    seconds = (time.perf_counter() - start) * len(weights) / len(soups)
    best = max(right) / len(labels)
    return {"seconds": seconds, "points": len(weights), "evaluated": len(soups), "score": best}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--pantry", type=Path, default=Path("examples/pantries/fashion-vit"))
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--json", type=Path, help="write the measurements here")
    parser.add_argument("--child", choices=["loop", "scripts"], help=argparse.SUPPRESS)
    parser.add_argument("--set", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        print(json.dumps(bare_loop(arguments.pantry, arguments.set, arguments.child)))
        return
    with tempfile.TemporaryDirectory(prefix="soupsearch-bench-") as scratch:
        small, large = Path(scratch) / "small.zip", Path(scratch) / "large.zip"
        write_set(small, 50, 1, arguments.data)
        write_set(large, arguments.images, 2, arguments.data)
        results = {"before": run_loop(arguments.pantry, large, "loop", arguments.threads)}
        results |= run_service(arguments.pantry, small, large, arguments.threads)
        results["after"] = run_loop(arguments.pantry, large, "loop", arguments.threads)
        results["scripts"] = run_loop(arguments.pantry, large, "scripts", arguments.threads)
    loop = (results["before"]["seconds"] + results["after"]["seconds"]) / 2
    for name, result in results.items():
        print(f"{name:8}  {result['seconds']:8.1f} s   {result['seconds'] / loop:5.2f} x the bare loop   {result}")
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=2))


if __name__ == "__main__":
    main()
