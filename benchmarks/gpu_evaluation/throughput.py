"""Images a second of whole soups, beside bare forward passes."""

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch

from workers.evaluation.evaluator import Evaluator
from workers.evaluation.forward import forward_context
from workers.evaluation.sets import EncodedSet
from workers.soups.layout import Layout
from workers.soups.model import build_model
from workers.soups.resident import Precision, ResidentSoup
from workers.soups.stack import IngredientStack

CLASSES = 1000
POINTS = ([0.6, 0.8, -0.4], [0.2, 0.2, 0.6])


@dataclass(frozen=True)
class Throughput:
    """Images a second: ``soups`` with merge and scoring, ``bare`` forward passes alone; the best of ``repeats``."""

    device: str
    architecture: str
    precision: str
    batch_size: int
    images: int
    soups: float
    bare: float
    overhead: float


def measure(
    device: str, architecture: str, *, image_size: int, images: int, batch_size: int, repeats: int = 3
) -> list[dict[str, object]]:
    """Throughput in float32 and bfloat16 of three ingredients with random weights on random images."""
    stack = random_stack(architecture, image_size)
    generator = np.random.default_rng(0)
    pixels = generator.integers(0, 256, (images, 3, image_size, image_size), dtype=np.uint8)
    source = EncodedSet.of_classes(pixels, generator.integers(0, CLASSES, images).tolist(), CLASSES)
    precisions: tuple[Precision, ...] = ("float32", "bfloat16")
    return [
        asdict(_measure(stack, source, device, precision, batch_size=batch_size, repeats=repeats))
        for precision in precisions
    ]


def random_stack(architecture: str, image_size: int) -> IngredientStack:
    """Three ingredients: one random initialisation and noise around it."""
    config: dict[str, Any] = {
        "architecture": architecture,
        "num_classes": CLASSES,
        "model_args": {"img_size": image_size},
        "pretrained_cfg": {"input_size": [3, image_size, image_size], "mean": [0.5] * 3, "std": [0.5] * 3},
    }
    model = build_model(config)
    layout = Layout.of(model)
    weights = np.zeros((3, layout.size), dtype=np.float32)
    state = model.state_dict()
    generator = torch.Generator().manual_seed(0)
    for slot in layout.slots:
        start = state[slot.names[0]]
        for row in weights:
            slot.write(row, start + 0.01 * torch.randn(start.shape, generator=generator))
    return IngredientStack(("a", "b", "c"), config, layout, weights, {})


def _measure(
    stack: IngredientStack, source: EncodedSet, device: str, precision: Precision, *, batch_size: int, repeats: int
) -> Throughput:
    soup = ResidentSoup(stack, device, precision)
    evaluator = Evaluator(stack, [source], batch_size=batch_size, soup=soup)
    inputs = [evaluator.images.normalise(batch.images) for batch in evaluator.images]

    def soups() -> None:
        for point in POINTS:
            evaluator.evaluate(point)

    def bare() -> None:
        with forward_context(soup.device, precision):
            for _ in POINTS:
                for batch in inputs:
                    soup.model(batch)

    work = len(POINTS) * len(source)
    by_soups, by_bare = _best_seconds(soups, bare, soup.device, repeats)
    return Throughput(
        device=torch.cuda.get_device_name() if soup.device.type == "cuda" else "cpu",
        architecture=stack.config["architecture"],
        precision=precision,
        batch_size=batch_size,
        images=len(source),
        soups=work / by_soups,
        bare=work / by_bare,
        overhead=by_soups / by_bare,
    )


def _best_seconds(
    first: Callable[[], None], second: Callable[[], None], device: torch.device, repeats: int
) -> tuple[float, float]:
    """Least seconds of each, taken in turns after one round that is not counted."""
    times = [(_seconds(first, device), _seconds(second, device)) for _ in range(repeats + 1)][1:]
    return min(one for one, _ in times), min(other for _, other in times)


def _seconds(work: Callable[[], None], device: torch.device) -> float:
    start = time.perf_counter()
    work()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start
