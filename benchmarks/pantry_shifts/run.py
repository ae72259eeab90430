"""Best affine soup against best ingredient of a pantry, on shifts it was not trained on.

Every soup of the lattice is scored on the selection images of a shift; the best one, and each ingredient, then on
held-out images of the same shift. Prints one row a shift as a Markdown table.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from search.lattice import Lattice
from workers.attacks.model import NormalizedModel
from workers.data.corruptions import corrupt_batch
from workers.data.corruptions.tables import TableName
from workers.data.idx import load_idx_folder
from workers.training.network import load_ingredient

SHIFTS: dict[str, tuple[str, int, TableName]] = {
    "gaussian noise 4": ("gaussian_noise", 4, "imagenet"),
    "low contrast 4": ("low_contrast", 4, "imagenet"),
    "rotation 2": ("rotation", 2, "imagenet"),
    "salt and pepper 4": ("salt_and_pepper", 4, "imagenet"),
}
SMALLEST_VARIANCE = 1e-5


class Kitchen:
    """One resident network whose weights are overwritten by each soup in turn."""

    def __init__(self, folders: list[Path]) -> None:
        states = [load_ingredient(folder).state_dict() for folder in folders]
        self._network = load_ingredient(folders[0]).eval()
        config = self._network.pretrained_cfg
        self._model = NormalizedModel(self._network, config["mean"], config["std"]).eval()
        self._keys = [key for key, value in states[0].items() if value.is_floating_point()]
        self._stacks = {key: torch.stack([state[key] for state in states]) for key in self._keys}

    def logits(self, weights: NDArray[np.float64], images: Tensor) -> Tensor:
        """Logits of the soup with ``weights``; a running variance is kept positive."""
        mix = torch.tensor(weights, dtype=torch.float32)
        state = self._network.state_dict()
        for key, stack in self._stacks.items():
            merged = torch.tensordot(mix, stack, 1)
            state[key].copy_(merged.clamp(min=SMALLEST_VARIANCE) if key.endswith("running_var") else merged)
        with torch.inference_mode():
            return torch.cat([self._model(part) for part in images.split(500)])


def shifted(images: NDArray[np.uint8], shift: str, seed: int) -> Tensor:
    """The images (N, 1, H, W) under ``shift``, float32 in [0, 1]."""
    name, severity, table = SHIFTS[shift]
    changed = corrupt_batch(images[:, 0], name, severity, np.random.default_rng(seed), table)
    return torch.from_numpy(np.stack(changed)[:, None]).float() / 255


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Share of the rows that are finite and right."""
    return float(((logits.argmax(1) == labels) & logits.isfinite().all(1)).float().mean())


def main() -> None:
    """Read the options, score and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pantry", type=Path)
    parser.add_argument("--data", type=Path, default=Path("/usr/share/datasets/fashion-mnist"))
    parser.add_argument("--select", type=int, default=250)
    parser.add_argument("--hold-out", type=int, default=2000)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    folders = [options.pantry / name for name in ("linf", "l2", "l1", "nominal")]
    kitchen, lattice = Kitchen(folders), Lattice(len(folders)).weights()
    test = load_idx_folder(options.data, "test")
    labels = torch.from_numpy(test.labels)
    print("| shift | " + " | ".join(folder.name for folder in folders) + " | soup | gain | weights |")
    print("|---" * (len(folders) + 4) + "|")
    for shift in SHIFTS:
        split, end = options.select, options.select + options.hold_out
        images = shifted(test.images[:end], shift, seed=0)
        scores = [accuracy(kitchen.logits(w, images[:split]), labels[:split]) for w in lattice]
        losses = torch.nn.functional.cross_entropy
        tied = [w for w, score in zip(lattice, scores, strict=True) if score == max(scores)]
        best = min(tied, key=lambda w: float(losses(kitchen.logits(w, images[:split]), labels[:split])))
        held = [accuracy(kitchen.logits(w, images[split:]), labels[split:end]) for w in [*np.eye(4), best]]
        cells = [*(f"{value:.3f}" for value in held), f"{100 * (held[4] - max(held[:4])):+.1f}"]
        print(f"| {shift} | " + " | ".join(cells) + f" | {np.round(best, 1).tolist()} |", flush=True)


if __name__ == "__main__":
    main()
