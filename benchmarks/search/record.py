"""Record the logits of every soup of the paper's grid on shifted test images of Fashion-MNIST.

    python -m benchmarks.search.record PANTRY --out FOLDER [--shifts low-contrast contrast:5 ...] [--threads 1]
        [--soups 60]

Writes FOLDER/<pantry>/<shift>.npz for each shift: the 480 soups and the uniform soup on 700 images. What is there is
not recorded again. With --soups, only the ingredients, the uniform soup and so many others, drawn at random.
"""

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from lab.data.corruptions import corrupt
from lab.data.draws import disjoint_draws
from lab.data.idx import load_idx_folder
from lab.data.labelled_images import LabelledImages
from lab.data.shifted_sets import SHIFTS, shifted_image
from search.lattice import Lattice
from search.testing import RecordedLandscape
from workers.evaluation.evaluator import Evaluator
from workers.evaluation.preprocess import DataConfig, encode_images
from workers.evaluation.sets import EncodedSet
from workers.soups.stack import IngredientStack

CLEAN = "clean"
DEFAULT_SHIFTS = (*SHIFTS, CLEAN, "contrast:4", "frost:4", "motion_blur:4", "fog:4", "jpeg_compression:4")
COUNTS = (100, 600)


def main(arguments: Sequence[str] | None = None) -> None:
    """Record each shift."""
    options = _parser().parse_args(arguments)
    data = load_idx_folder(options.data, "test")
    rows = np.concatenate(disjoint_draws(data.labels, COUNTS, 0, classes=10))
    folders = sorted(path.parent for path in options.pantry.glob("*/model.safetensors"))
    stack = IngredientStack.from_folders(folders)
    (options.out / options.pantry.name).mkdir(parents=True, exist_ok=True)
    for shift in options.shifts:
        path = options.out / options.pantry.name / f"{shift.replace(':', '-')}.npz"
        if not path.exists():
            weights = soups_of(len(stack), options.soups)
            _record(stack, weights, shifted_images(data, rows, shift), data.labels[rows], options.threads).save(path)
            print(path, flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="Record the logits of every soup of the paper's grid.")
    parser.add_argument("pantry", type=Path, help="folder of ingredients, such as examples/pantries/fashion-vit")
    parser.add_argument("--out", type=Path, required=True, help="folder to write to")
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--shifts", nargs="+", default=list(DEFAULT_SHIFTS), help="shipped, or NAME:SEVERITY")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--soups", type=int, help="only so many soups, the ingredients and the uniform soup")
    return parser


def shifted_images(data: LabelledImages, rows: NDArray[np.intp], shift: str) -> NDArray[np.uint8]:
    """Grey images (N, H, W, 1)."""
    if shift in SHIFTS:
        return np.stack([shifted_image(data, int(row), shift, 0) for row in rows])
    pictures = [np.ascontiguousarray(data.images[row].transpose(1, 2, 0)) for row in rows]
    if shift == CLEAN:
        return np.stack(pictures)
    name, severity = shift.split(":")
    seeds = [np.random.default_rng([1, int(row)]) for row in rows]
    pairs = zip(pictures, seeds, strict=True)
    return np.stack([corrupt(picture, name, int(severity), rng, "cifar") for picture, rng in pairs])


def soups_of(size: int, count: int | None) -> NDArray[np.float64]:
    """The soups of the grid, or some of them after the ingredients, and the uniform soup at the end; (soups, size)."""
    soups = Lattice(size).weights()
    if count is not None:
        soups = np.concatenate([np.eye(size), np.random.default_rng(0).permutation(soups)[:count]])
    return np.concatenate([soups, np.full((1, size), 1 / size)])


def _record(
    stack: IngredientStack,
    weights: NDArray[np.float64],
    images: NDArray[np.uint8],
    labels: NDArray[np.int64],
    threads: int,
) -> RecordedLandscape:
    encoded = EncodedSet.of_classes(encode_images(images, DataConfig.of(stack.config)), labels.tolist(), 10)
    evaluator = Evaluator(stack, [encoded], threads=threads)
    logits = [evaluator.evaluate(row, keep_logits=True).sets[0].logits for row in weights]
    return RecordedLandscape(weights, np.array(logits, dtype=np.float16), labels)


if __name__ == "__main__":
    main()
