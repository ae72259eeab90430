"""Best affine soup against best ingredient of a pantry, on shifts it was not trained on.

Every soup of the lattice is scored on the selection images of a shift; the best one, and each ingredient, then on
held-out images of the same shift. Prints one row a shift as a Markdown table.
"""

from __future__ import annotations

import argparse
import math
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from lab.data.corruptions import corrupt_batch
from lab.data.idx import load_idx_folder
from search.lattice import Lattice
from workers.attacks.model import NormalizedModel
from workers.soups.resident import ResidentSoup
from workers.soups.stack import IngredientStack

SHIFTS = ("gaussian_noise", "low_contrast", "rotation", "salt_and_pepper")


class Kitchen:
    """One resident network, normalisation inside, that is each soup in turn."""

    def __init__(self, folders: list[Path]) -> None:
        stack = IngredientStack.from_folders(folders)
        self._soup = ResidentSoup(stack)
        self._model = NormalizedModel.from_data_config(self._soup.model, stack.config["pretrained_cfg"]).eval()

    def logits(self, weights: NDArray[np.float64], images: Tensor) -> Tensor:
        """Logits (N, classes) of the soup with ``weights`` on ``images`` (N, 1, H, W)."""
        self._soup.set_weights(weights)
        with torch.inference_mode():
            return torch.cat([self._model(part) for part in torch.split(images, 500)])


def shifted(images: NDArray[np.uint8], shift: str, severity: int) -> Tensor:
    """The images (N, 1, H, W) under ``shift`` at an ImageNet-C severity, float32 in [0, 1]."""
    changed = corrupt_batch(images[:, 0], shift, severity, np.random.default_rng(severity), "imagenet")
    return torch.from_numpy(np.stack(changed)[:, None]).float() / 255


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the rows that are finite and right."""
    return float(((logits.argmax(1) == labels) & logits.isfinite().all(1)).float().mean())


def loss(logits: Tensor, labels: Tensor) -> float:
    """Mean cross-entropy; infinite where it is not a number."""
    value = float(functional.cross_entropy(logits, labels))
    return value if math.isfinite(value) else math.inf


@dataclass(frozen=True)
class Row:
    """Held-out accuracies of the ingredients and of the chosen soup, and its weights."""

    ingredients: list[float]
    soup: float
    weights: NDArray[np.float64]

    def __str__(self) -> str:
        accuracies = " | ".join(f"{value:.3f}" for value in [*self.ingredients, self.soup])
        weights = " ".join(f"{weight:+.1f}" for weight in self.weights)
        return f"{accuracies} | {100 * (self.soup - max(self.ingredients)):+.1f} | {weights} |"


def score(kitchen: Kitchen, lattice: NDArray[np.float64], images: Tensor, labels: Tensor, select: int) -> Row:
    """Pick the soup on the first ``select`` images, score it and each ingredient on the others."""
    chosen = [kitchen.logits(weights, images[:select]) for weights in lattice]
    keys = [(-accuracy(logits, labels[:select]), loss(logits, labels[:select])) for logits in chosen]
    best = lattice[min(range(len(lattice)), key=keys.__getitem__)]
    candidates = [*np.eye(lattice.shape[1]), best]
    held_out = [accuracy(kitchen.logits(weights, images[select:]), labels[select:]) for weights in candidates]
    return Row(held_out[:-1], held_out[-1], best)


def main() -> None:
    """Read the options, score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pantry", type=Path)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--select", type=int, default=250)
    parser.add_argument("--hold-out", type=int, default=2000)
    parser.add_argument("--severities", type=int, nargs="+", default=[2, 4])
    parser.add_argument("--shifts", nargs="+", choices=SHIFTS, default=SHIFTS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    names = ("linf", "l2", "l1", "nominal")
    kitchen, lattice = Kitchen([options.pantry / name for name in names]), Lattice(len(names)).weights()
    test = load_idx_folder(options.data, "test").first(options.select + options.hold_out)
    labels = torch.from_numpy(test.labels)
    print("| shift | severity | " + " | ".join(names) + " | best soup | gain, points | its weights |")
    print("|---" * (len(names) + 5) + "|")
    for shift, severity in product(options.shifts, options.severities):
        row = score(kitchen, lattice, shifted(test.images, shift, severity), labels, options.select)
        print(f"| {shift} | {severity} | {row}", flush=True)


if __name__ == "__main__":
    main()
