"""Accuracy, clean and robust, on the line between two ingredients, as merged and with BatchNorm's statistics anew.

    python -m benchmarks.mode_connectivity.run FIRST SECOND --threat Linf:0.1

FIRST and SECOND are timm folders. A soup averages the running statistics too, which are then not those of its own
activations; here they are also taken from training images. Prints a Markdown table.
"""

import argparse
from copy import deepcopy
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from benchmarks.attack_parity.classifiers import fashion_mnist
from workers.attacks.attack import Attack
from workers.attacks.model import NormalizedModel
from workers.attacks.robustness import robust_accuracy
from workers.attacks.threat import Threat
from workers.soups.resident import ResidentSoup
from workers.soups.stack import IngredientStack

STATISTICS_IMAGES = 5000
BATCH = 250


def with_own_statistics(model: nn.Module, images: Tensor) -> nn.Module:
    """A copy of ``model`` whose BatchNorm statistics are means over ``images``."""
    copy = deepcopy(model)
    for module in copy.modules():
        if isinstance(module, _BatchNorm):
            module.reset_running_stats()
            module.momentum = None
            module.train()
    with torch.no_grad():
        for part in torch.split(images, BATCH):
            copy(part)
    return copy.eval()


def accuracies(model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, steps: int) -> str:
    """Clean and robust accuracy in per cent."""
    found = robust_accuracy(model, images, labels, [Attack(threat, steps)], batch_size=BATCH)
    shares = (found.clean, found.threats[0].robust[0])
    return " / ".join(f"{100 * right.double().mean().item():.1f}" for right in shares)


def main() -> None:
    """Attack the soups, print a row for each as it is found."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("first", type=Path)
    parser.add_argument("second", type=Path)
    parser.add_argument("--threat", type=Threat.parse, default=Threat("Linf", 0.1))
    parser.add_argument("--weights", type=float, nargs="+", default=[0.0, 0.2, 0.4, 0.6, 0.8, 1.0])
    parser.add_argument("--images", type=int, default=500)
    parser.add_argument("--steps", type=int, default=40)
    options = parser.parse_args()
    torch.set_num_threads(1)
    images, labels = fashion_mnist("test", options.images)
    training, _ = fashion_mnist("train", STATISTICS_IMAGES)
    soup = ResidentSoup(IngredientStack.from_folders([options.first, options.second]))
    model = NormalizedModel.from_data_config(soup.model, soup.stack.config["pretrained_cfg"]).eval()
    print(f"| w | merged: clean / {options.threat} | own statistics: clean / {options.threat} |\n| --- | --- | --- |")
    for weight in options.weights:
        soup.set_weights([1 - weight, weight])
        variants = (model, with_own_statistics(model, training))
        cells = [accuracies(each, images, labels, options.threat, options.steps) for each in variants]
        print(f"| {weight:g} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
