"""Robust accuracy by our Square attack and by the authors' code, on the same models and images, seed by seed.

    python -m benchmarks.attack_parity.square --images 1000 --seeds 5 --queries 500

Prints a Markdown table.
"""

import argparse
from pathlib import Path

import torch
from torch import Tensor, nn

from benchmarks.attack_parity.classifiers import subjects
from benchmarks.attack_parity.reference import reference_square
from benchmarks.attack_parity.run import THREATS
from workers.attacks.square import square
from workers.attacks.threat import Threat


def compare(
    model: nn.Module, images: Tensor, labels: Tensor, threat: Threat, queries: int, *, seeds: int
) -> tuple[Tensor, Tensor]:
    """Robust accuracies (S,) in per cent, ours and the authors'."""
    ours = [square(model, images, labels, threat, queries, seed=seed).robust for seed in range(seeds)]
    theirs = [reference_square(model, images, labels, threat, queries, seed=seed) for seed in range(seeds)]
    return 100 * torch.stack(ours).double().mean(1), 100 * torch.stack(theirs).double().mean(1)


def main() -> None:
    """Compare on the models in all threats, and print each row as it is done."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--queries", type=int, default=500)
    parser.add_argument("--ingredient", type=Path, help="attack the network of this timm folder instead of the two")
    options = parser.parse_args()
    torch.set_num_threads(1)
    models, images, labels = subjects(options.ingredient, options.images)
    print("| model | threat | queries | ours | reference | difference |\n|" + " --- |" * 6)
    for name, model in models.items():
        for threat in map(Threat.parse, THREATS.get(name, THREATS["robust"])):
            ours, theirs = compare(model, images, labels, threat, options.queries, seeds=options.seeds)
            cells = [f"{side.mean():.2f} ± {side.std(correction=0):.2f}" for side in (ours, theirs)]
            difference = f"{ours.mean() - theirs.mean():+.2f}"
            print("| " + " | ".join(map(str, [name, threat, options.queries, *cells, difference])) + " |", flush=True)


if __name__ == "__main__":
    main()
