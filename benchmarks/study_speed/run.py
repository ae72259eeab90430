"""Images a second of soups of the shipped pantries, by precision and batch size, as one evaluator scores them.

    python -m benchmarks.study_speed.run

Prints a Markdown table.
"""

import argparse
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path

import torch

from lab.data.idx import load_idx_folder
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.resident import Precision, ResidentSoup
from workers.soups.stack import IngredientStack

PANTRIES = Path("examples/pantries")
INGREDIENTS = ("linf", "l2", "l1", "nominal")
WEIGHTS = (0.4, 0.8, -0.4, 0.2)
PRECISIONS: tuple[Precision, ...] = ("float32", "bfloat16")
VARIANTS = tuple(product(PRECISIONS, (64, 128, 256)))


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure both pantries and print each variant's speed and its ratio to the first."""
    options = _parser().parse_args(arguments)
    torch.set_num_threads(1)
    print("| pantry | precision | batch | images a second | ratio |\n|---|---|---|---|---|")
    for pantry in ("fashion-resnet", "fashion-vit"):
        speeds = _speeds(pantry, options)
        for (precision, size), speed in zip(VARIANTS, speeds, strict=True):
            print(f"| {pantry} | {precision} | {size} | {speed:.0f} | {speed / speeds[0]:.2f} |", flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Speed of one evaluator, in processor seconds of one thread.")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=7, help="soups of each variant; the fastest counts")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    return parser


def _speeds(pantry: str, options: argparse.Namespace) -> list[float]:
    """Images a second of each variant: the variants take turns, so that a drift of the machine's speed meets all."""
    stack = IngredientStack.from_folders([PANTRIES / pantry / name for name in INGREDIENTS], INGREDIENTS)
    evaluators = [_evaluator(stack, precision, size, options) for precision, size in VARIANTS]
    seconds = [[_seconds(evaluator) for evaluator in evaluators] for _ in range(options.repeats + 1)][1:]
    return [options.images / min(column) for column in zip(*seconds, strict=True)]


def _evaluator(stack: IngredientStack, precision: Precision, size: int, options: argparse.Namespace) -> Evaluator:
    data = load_idx_folder(options.data, "test")
    soup = ResidentSoup(stack, "cpu", precision)
    pixels = data.images[: options.images].transpose(0, 2, 3, 1)
    encoded = encode_images(pixels, DataConfig.of_model(soup.model))
    images = EncodedSet.of_classes(encoded, data.labels[: options.images].tolist(), 10)
    return Evaluator(stack, [images], soup=soup, stream_batch_size=size)


def _seconds(evaluator: Evaluator) -> float:
    start = time.process_time()
    evaluator.evaluate(WEIGHTS, keep_logits=True)
    return time.process_time() - start


if __name__ == "__main__":
    main()
